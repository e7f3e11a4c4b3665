# bash outage.sh GATEWAY LOADGEN: the terminal of an outage of v2, then of v1, of a v2 that hangs, and back.
G=$1; L=$2; D=$(mktemp -d); cd $D
$L serve --threads 1 --port v1,size=64 --port v2,size=64 > serve.json 2>serve.err & S=$!
until grep -q control serve.json; do sleep 0.1; done
at(){ python3 -c "import json,sys
for l in open('$D/serve.json'):
  d=json.loads(l)
  if d['name']=='$1': print(d['addr'])"; }
V1=$(at v1); V2=$(at v2); C=$(at control)
cat > u.toml <<T
[[listener]]
bind = "127.0.0.1:0"
[admin]
bind = "127.0.0.1:0"
[upstream.v1]
endpoints = ["$V1"]
[upstream.v2]
endpoints = ["$V2"]
[[route]]
name = "shop"
path_prefix = "/"
primary = "v1"
mirrors = [{ upstream = "v2", compare = {} }]
[access_log]
to = "$D/access.log"
T
$G u.toml > out 2> err & P=$!
until grep -q "admin on" out; do sleep 0.1; done
A=$(sed -n 's/^listening on //p' out); ADM=$(sed -n 's/^admin on //p' out)
$L run http://$A/ --rate 50 -d 70s -c 4 -t 1 -q --timeout 2s > load.txt 2>&1 & LP=$!
say(){ echo; echo "######## $*"; }
fault(){ curl -s -X PUT -d $2 http://$C/ports/$1/fault >/dev/null; }
see(){ say "status: $1"; $G status --admin $ADM; echo "exit $?"; say "verdict"; $G verdict --admin $ADM | head -30; }
sleep 5; see calm
fault v2 refuse; sleep 6; see "v2 is dead"
fault v2 none; sleep 6; see "v2 is back"
fault v1 refuse; sleep 6; see "v1 is dead"
fault v1 none; sleep 6; see "v1 is back"
fault v2 never_answer; sleep 8; see "v2 hangs"
fault v2 none; sleep 8; see "v2 is back"
say "the terminal (stdout)"; cat out
say "the terminal (stderr)"; cat err
say "changes"; $G changes --admin $ADM
say "logs"; $G logs --admin $ADM --level warn
wait $LP; say load; cat load.txt
say "access log, a few of each"; awk '{print}' access.log | python3 -c "
import sys,json,collections
seen=collections.Counter()
for l in sys.stdin:
  try: d=json.loads(l)
  except Exception: continue
  k=(d.get('status'),str(d.get('outcome')),str([ (m.get('mirror'),m.get('outcome')) for m in d.get('mirrors',[]) ]))
  seen[k]+=1
  if seen[k]==1: print(l.strip()[:600])
print(seen)"
kill -TERM $P; wait $P; say "end"; tail -5 err
kill $S
