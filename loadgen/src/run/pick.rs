//! Chooses the next prepared request, by weight. Pure.

use super::request::Mix;

/// Chooses templates over all targets or within one.
pub struct Pick {
    pub all: Table,
    pub by_target: Vec<Table>,
}

#[derive(Default)]
pub struct Table {
    templates: Vec<u32>,
    /// Running sums of the weights.
    sums: Vec<f64>,
}

impl Table {
    fn push(&mut self, template: u32, weight: f64) {
        self.templates.push(template);
        self.sums.push(self.sums.last().unwrap_or(&0.0) + weight);
    }

    pub fn draw(&self, random: &mut fastrand::Rng) -> u32 {
        if self.templates.len() == 1 {
            return self.templates[0];
        }
        let at = random.f64() * self.sums.last().unwrap_or(&0.0);
        let index = self.sums.partition_point(|sum| *sum <= at).min(self.templates.len().saturating_sub(1));
        self.templates.get(index).copied().unwrap_or(0)
    }
}

impl Pick {
    pub fn new(mix: &Mix) -> Self {
        let mut pick = Self { all: Table::default(), by_target: Vec::new() };
        pick.by_target.resize_with(mix.targets.len(), Table::default);
        for (index, template) in mix.templates.iter().enumerate() {
            pick.all.push(index as u32, template.weight);
            pick.by_target[template.target].push(index as u32, template.weight);
        }
        pick
    }
}
