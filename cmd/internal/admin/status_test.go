package admin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jwks"
)

func withKeys(c *Config) {
	c.Keys = func() []jwks.Status {
		return []jwks.Status{
			{Issuer: idp, Usable: true, Keys: []jwks.KeyInfo{{ID: "k1", Alg: "ES256", Type: "EC"}}},
			{Issuer: lender, LastError: "connection refused", Failing: true},
		}
	}
	c.RefreshKeys = func(_ context.Context, issuer string) error {
		if issuer == lender {
			return errors.New("connection refused")
		}
		return nil
	}
}

func TestStatus(t *testing.T) {
	w := start(t, withKeys, func(c *Config) {
		c.Checks = func() []Check { return []Check{{Name: "config", Detail: "line 3: what is this", Advisory: true}} }
	})
	w.revoke(t, session("x"))
	doc := w.get(t, "/v1/status").json(t)
	if doc["ready"] != true || doc["version"] != "test" {
		t.Errorf("got %v", doc)
	}
	if n := doc["revocations"].(map[string]any); n["session"] != 1.0 || len(n) != len(cache.AllKinds()) {
		t.Errorf("revocations %v", n)
	}
	want := []any{
		map[string]any{"issuer": idp, "usable": true, "keys": 1.0}, map[string]any{"issuer": lender, "usable": false, "keys": 0.0},
	}
	if diff := cmp.Diff(want, doc["keys"]); diff != "" {
		t.Error(diff)
	}
	feed := w.get(t, "/v1/feed").json(t)
	if feed["state"] != "fresh" || feed["sequence"] != float64(w.config.Sync.Number()) || feed["connected"] != true || feed["max_age"] != "1m0s" {
		t.Errorf("feed %v", feed)
	}
	if epoch, _ := feed["epoch"].(string); !regexp.MustCompile("^[0-9a-f]{32}$").MatchString(epoch) {
		t.Errorf("epoch %v", feed["epoch"])
	}
}

func TestKeys(t *testing.T) {
	w := start(t, withKeys)
	items := w.get(t, "/v1/keys").json(t)["items"].([]any)
	if len(items) != 2 || items[0].(map[string]any)["issuer"] != idp {
		t.Errorf("got %v", items)
	}
	for body, status := range map[string]int{
		"": 502, "{}": 502, `{"issuer":"` + idp + `"}`: 200, `{"issuer":"` + lender + `"}`: 502, `{"issuer":"x"}`: 400, `{"issuer":1}`: 400,
		`{"issuer":""}`: 400, `{"who":"x"}`: 400, "[]": 400, "null": 400, "x": 400,
	} {
		got := w.do(t, ask{method: "POST", path: "/v1/keys:refresh", body: body})
		if got.status != status {
			t.Errorf("%s: %d %s, want %d", body, got.status, got.body, status)
		}
		if status == 502 && !strings.Contains(got.body, "connection refused") {
			t.Errorf("%s does not say what failed: %s", body, got.body)
		}
	}
	if got := start(t).do(t, ask{method: "POST", path: "/v1/keys:refresh"}); got.status != 404 {
		t.Errorf("without keys: %d", got.status)
	}
	if got := start(t).get(t, "/v1/keys"); got.body != "{\"items\":[]}\n" {
		t.Errorf("without keys: %s", got.body)
	}
}

// TestReadyz: what must hold makes the replica unready, what is advice is shown.
func TestReadyz(t *testing.T) {
	w := start(t, func(c *Config) {
		c.Checks = func() []Check {
			return []Check{{Name: "keys", OK: true}, {Name: "config", Detail: "refused:\nline 3", Advisory: true}}
		}
	})
	if got := w.get(t, "/readyz"); got.status != 200 || got.body != "ok\n" {
		t.Errorf("%d %q", got.status, got.body)
	}
	want := "[+]feed ok\n[+]keys ok\n[-]config failed: refused:\\nline 3\nreadyz check passed\n"
	for _, query := range []string{"?verbose", "?verbose=true", "?verbose=1"} {
		if got := w.get(t, "/readyz"+query); got.status != 200 || got.body != want {
			t.Errorf("%d %q", got.status, got.body)
		}
	}
	w.config.Sync.Break("record 7 is missing")
	got := w.get(t, "/readyz")
	if got.status != 503 || !strings.Contains(got.body, "[-]feed failed: record 7 is missing") || !strings.HasSuffix(got.body, "readyz check failed\n") {
		t.Errorf("%d %q", got.status, got.body)
	}
	if doc := w.get(t, "/v1/status").json(t); doc["ready"] != false {
		t.Errorf("status %v", doc)
	}
	if doc := w.get(t, "/v1/feed").json(t); doc["state"] != "stale" || doc["broken"] != "record 7 is missing" {
		t.Errorf("feed %v", doc)
	}
	if got := w.get(t, "/livez"); got.status != 200 {
		t.Errorf("livez: %d", got.status)
	}
}

// TestStale: a feed that was not heard of makes the replica unready.
func TestStale(t *testing.T) {
	later := time.Now()
	w := start(t, func(c *Config) { c.Now = func() time.Time { return later } })
	later = later.Add(time.Hour)
	if got := w.get(t, "/readyz"); got.status != 503 || !strings.Contains(got.body, "nothing heard for") {
		t.Errorf("%d %q", got.status, got.body)
	}
}

func TestPage(t *testing.T) {
	w := start(t, func(c *Config) {
		c.Version = "<script>"
		c.Checks = func() []Check { return []Check{{Name: "<b>", Detail: "<img src=x>"}} }
		c.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })
	})
	got := w.get(t, "/")
	if got.status != 200 || got.header.Get("Content-Type") != "text/html; charset=utf-8" || !strings.Contains(got.body, `href="/v1/revocations"`) {
		t.Errorf("%d %v", got.status, got.header)
	}
	for _, raw := range []string{"<script>", "<b>", "<img"} {
		if strings.Contains(got.body, raw) {
			t.Errorf("%s stands in the page", raw)
		}
	}
	if csp := got.header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
		t.Errorf("policy %q", csp)
	}
	if got := w.get(t, "/metrics"); got.status != 200 || got.body != "up 1\n" {
		t.Errorf("metrics: %d %q", got.status, got.body)
	}
	if got := start(t).get(t, "/metrics"); got.status != 404 {
		t.Errorf("without metrics: %d", got.status)
	}
}

// TestNoGetChangesAnything asks every path and compares the state.
func TestNoGetChangesAnything(t *testing.T) {
	refreshed := false
	w := start(t, withKeys, func(c *Config) {
		c.RefreshKeys = func(context.Context, string) error { refreshed = true; return nil }
	})
	id := w.revoke(t, session("x"))["id"].(string)
	before := w.inForce()
	for _, r := range routes() {
		path := r.path
		if strings.HasSuffix(path, "/") && len(path) > 1 {
			path += id
		}
		for _, method := range []string{"GET", "HEAD"} {
			w.do(t, ask{method: method, path: path})
		}
	}
	if w.inForce() != before || refreshed || len(w.counted) != 1 {
		t.Errorf("%d in force, refreshed %v, counted %v", w.inForce(), refreshed, w.counted)
	}
}
