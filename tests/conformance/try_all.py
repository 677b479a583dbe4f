import sys, time, collections
from tests.conformance.forms import all_forms
from tests.conformance.run import run_form
import multiprocessing as mp
def go(i):
    f=all_forms()[i]
    t=time.time()
    try: o=run_form(f)
    except Exception as e: return i,"CRASH",0,f"{type(e).__name__}: {str(e)[:200]}",time.time()-t
    return i,o.verdict,o.error,o.reason[:230],time.time()-t
if __name__=="__main__":
    pats=sys.argv[1:]
    fs=[i for i,f in enumerate(all_forms()) if not pats or any(f.op==p or p in f.name for p in pats)]
    c=collections.Counter(); t0=time.time()
    for i in fs:
        i,v,e,r,t=go(i); c[v]+=1
        if v not in ("equal",) or t>5: print(f"{v:8s} {e:.1e} {t:.1f}s {all_forms()[i].name}: {r}",flush=True)
    print(len(fs),c,f"{time.time()-t0:.0f}s")
