import os, subprocess, sys
from tests.browser.pictures import FOLDER
from tests.browser.test_look import check, level
def full(p, name, url, do=None, dialog=False):
    for dark in (False, True):
        p.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        for w in (1280, 390):
            p.set_viewport_size({"width": w, "height": 900})
            p.goto(url); p.wait_for_load_state("networkidle")
            if do: do(p)
            if not dark or w == 390 :
                p.screenshot(path=f"/tmp/pages/shots/{name}-{w}{'-night' if dark else ''}.png", full_page=not dialog)
            try: check(p, name)
            except AssertionError as e: print("AXE", name, w, dark, str(e)[:600])
    p.set_viewport_size({"width": 320, "height": 800})
    try: level(p, name)
    except AssertionError as e: print("LEVEL", e)
    p.set_viewport_size({"width": 1280, "height": 900})
def test_shots(site, signed_in):
    os.makedirs("/tmp/pages/shots", exist_ok=True)
    env = os.environ | {"NIGHTBELL_HOME": str(site.home), "NIGHTBELL_KEYS": str(site.home.parent/"keys"), "NIGHTBELL_URL": site.url, "PYTHONPATH":"/work/oncall/src:/work/oncall"}
    r = subprocess.run([sys.executable, "/tmp/pages/rich.py"], env=env, capture_output=True, text=True)
    print(r.stdout, r.stderr[-1500:])
    m = signed_in("okafor"); u = site.url
    full(m, "oncall", u+"/oncall/"); full(m, "plan", u+"/oncall/plan"); full(m, "policies", u+"/oncall/policies")
    full(m, "policy", u+"/oncall/policy/new"); full(m, "rotation", u+"/oncall/rotation/new"); full(m, "import", u+"/oncall/import")
    c = signed_in("patel")
    full(c, "inbox", u+"/"); full(c, "ways", u+"/account/ways/")
    full(c, "swap", u+"/oncall/", lambda p: (p.get_by_role("link", name="Swap", exact=True).click(), p.wait_for_selector("dialog[open]")), dialog=True)
    full(c, "swappage", u+"/oncall/swap")
    c.goto(u+"/?view=mine"); a = c.eval_on_selector_all("a.go, h3 a", "f => f.map(a => a.href)")
    if a: full(c, "mine", a[0])
    c.goto(u+"/"); a = c.eval_on_selector_all("h3 a", "f => f.map(a => a.href)")
    if a: full(c, "urgent", a[0])
