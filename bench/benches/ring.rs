//! The mirror's ring: the cost of a copy going in and out, one at a time, in batches, and when the ring is full.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use gateway::mirror::ring::Ring;

const ENTRIES: usize = 4096;
const BYTES: usize = 32 << 20;
/// As many as a shipper writes at once.
const BATCH: usize = 32;
const COPY_BYTES: usize = 300;

/// As large as a handle on a copy; the memory behind it is not moved.
type Item = [usize; 8];

fn ring(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("ring");
    group.throughput(Throughput::Elements(1));
    let mut ring = Ring::<Item>::new(ENTRIES, BYTES);
    group.bench_function("push_pop", |b| {
        b.iter(|| {
            let pushed = ring.push(black_box([1; 8]), COPY_BYTES).is_ok();
            (pushed, ring.pop())
        });
    });

    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("push_32_pop_32", |b| {
        b.iter(|| {
            let pushed = (0..BATCH).filter(|n| ring.push(black_box([*n; 8]), COPY_BYTES).is_ok()).count();
            (pushed, (0..BATCH).filter_map(|_| ring.pop()).count())
        });
    });

    group.throughput(Throughput::Elements(1));
    let mut full = Ring::<Item>::new(ENTRIES, BYTES);
    while full.push([0; 8], COPY_BYTES).is_ok() {}
    group.bench_function("full_newest_refused", |b| {
        b.iter(|| full.push(black_box([1; 8]), COPY_BYTES).is_err());
    });
    group.bench_function("full_oldest_evicted", |b| {
        b.iter(|| {
            let mut evicted = 0;
            let pushed = full.push_evicting(black_box([1; 8]), COPY_BYTES, |_| evicted += 1).is_ok();
            (pushed, evicted)
        });
    });
    group.bench_function("reserve_release", |b| {
        b.iter(|| {
            let reserved = ring.reserve(black_box(COPY_BYTES)).is_ok();
            ring.release(COPY_BYTES);
            reserved
        });
    });
    group.finish();
}

criterion_group!(benches, ring);
criterion_main!(benches);
