package jwks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestNewRefuses(t *testing.T) {
	const u = "https://idp.example/jwks"
	for want, c := range map[string]Config{
		"issuer is empty":              {Sources: []Source{{URL: u}}},
		"exactly one of":               {Sources: []Source{{Issuer: iss}}},
		`issuer "b": needs exactly`:    {Sources: []Source{{Issuer: "b", URL: u, File: "f"}}},
		`issuer "c": needs exactly`:    {Sources: []Source{{Issuer: "c", File: "f", Discover: true}}},
		"configured twice":             {Sources: []Source{{Issuer: iss, URL: u}, {Issuer: iss, File: "f"}}},
		"refresh 999ms is too short":   {Sources: []Source{{Issuer: iss, URL: u, Refresh: 999 * time.Millisecond}}},
		"refresh -1s is too short":     {Sources: []Source{{Issuer: iss, URL: u, Refresh: -time.Second}}},
		"max stale 1s is shorter":      {Sources: []Source{{Issuer: iss, URL: u, Refresh: time.Minute, MaxStale: time.Second}}},
		"use https":                    {Sources: []Source{{Issuer: iss, URL: "http://idp.example/jwks"}}},
		`"not-a-url" is not https`:     {Sources: []Source{{Issuer: "not-a-url", Discover: true}}},
		"has a query":                  {Sources: []Source{{Issuer: iss + "?realm=a", Discover: true}}},
		"timeout -1s is negative":      {Timeout: -time.Second},
		"issuer \"\": issuer is empty": {Sources: []Source{{}, {Issuer: iss, URL: u}}},
	} {
		if s, err := New(c); s != nil || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New(%+v) = %v, want an error with %q", c.Sources, err, want)
		}
	}
	_, err := New(Config{Sources: []Source{{Issuer: "a"}, {Issuer: "b"}, {}}})
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not all errors are reported at once: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	s := open(t, Config{Sources: []Source{{Issuer: iss, URL: localURL}, {Issuer: "slow", URL: localURL, Refresh: 72 * time.Hour}}})
	for issuer, want := range map[string]Source{
		iss:    {Refresh: 5 * time.Minute, MaxStale: 24 * time.Hour},
		"slow": {Refresh: 72 * time.Hour, MaxStale: 72 * time.Hour},
	} {
		if got := s.sources[issuer].spec; got.Refresh != want.Refresh || got.MaxStale != want.MaxStale {
			t.Errorf("%s: %+v", issuer, got)
		}
	}
}

// TestKeySetAllocs: what a check calls costs a look into a map.
func TestKeySetAllocs(t *testing.T) {
	s := newSite(t, setOf(t, "k"), 0)
	refresh(t, s.store)
	allocs := testing.AllocsPerRun(1000, func() {
		if _, ok := s.store.KeySet(iss); !ok {
			t.Error("no keys")
		}
		_, _ = s.store.KeySet("https://unknown.example")
		s.store.Wanted(iss)
		s.store.Wanted("https://unknown.example")
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

func BenchmarkKeySet(b *testing.B) {
	s := open(b, Config{Sources: []Source{{Issuer: iss, URL: localURL}}})
	set, err := parse([]byte(setOf(b, "k")), false)
	if err != nil {
		b.Fatal(err)
	}
	s.order[0].keys.Store(&held{set, time.Now()})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, ok := s.KeySet(iss); !ok {
				b.Error("no keys")
			}
		}
	})
}

// TestReadersAndWriter: checks read while the set is swapped, and see one
// whole set or the other.
func TestReadersAndWriter(t *testing.T) {
	s := newSite(t, "", 0)
	docs := [2]string{setOf(t, "a1", "a2"), setOf(t, "b1", "b2")}
	s.doc(docs[0])
	refresh(t, s.store)
	var stopped atomic.Bool
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for !stopped.Load() {
				set, ok := s.store.KeySet(iss)
				if got := fmt.Sprint(kids(set)); !ok || got != "[a1 a2]" && got != "[b1 b2]" {
					t.Errorf("saw %v, %s", ok, got)
					return
				}
				s.store.Wanted(iss)
				_ = s.store.Status()
				_, _ = s.store.Ready()
			}
		})
	}
	for i := range 20 {
		s.doc(docs[i%2])
		refresh(t, s.store)
	}
	stopped.Store(true)
	readers.Wait()
}

// TestIssuersAreApart: a source whose URL serves the keys of another issuer
// gives that issuer's keys to nobody else.
func TestIssuersAreApart(t *testing.T) {
	mux := http.NewServeMux()
	mux.Handle("/a", serve(setOf(t, "same")))
	mux.Handle("/b", serve(setOf(t, "same")))
	s := newSite(t, "", 0)
	s.set(mux.ServeHTTP)
	base := strings.TrimSuffix(s.url, "/jwks")
	store := open(t, Config{Sources: []Source{{Issuer: "a", URL: base + "/a"}, {Issuer: "b", URL: base + "/b"}, {Issuer: "c", URL: base + "/c"}}})
	err := store.Load(t.Context())
	if err == nil || !strings.Contains(err.Error(), "refresh keys of c: get ") || strings.Contains(err.Error(), "keys of a") {
		t.Errorf("Load = %v", err)
	}
	a, _ := store.KeySet("a")
	b, _ := store.KeySet("b")
	if a == b || a.ID() == b.ID() {
		t.Error("two issuers share a set")
	}
	wantKids(t, store, "c")
}

// TestPrevious: a reload keeps the keys of a source that is the same as before,
// and of no other.
func TestPrevious(t *testing.T) {
	s := newSite(t, setOf(t, "k"), 0)
	refresh(t, s.store)
	s.set(down)
	same := open(t, Config{Previous: s.store, Sources: []Source{{Issuer: iss, URL: s.url, Refresh: time.Hour}}})
	wantKids(t, same, iss, "k")
	if err := same.Load(t.Context()); err == nil {
		t.Error("the server is down and was reached")
	}
	wantKids(t, same, iss, "k")
	if ok, why := same.Ready(); !ok {
		t.Errorf("not ready: %s", why)
	}
	for _, other := range []Source{{Issuer: iss, URL: s.url + "2"}, {Issuer: iss, File: "f"}, {Issuer: "other", URL: s.url}} {
		store := open(t, Config{Previous: s.store, Sources: []Source{other}})
		wantKids(t, store, other.Issuer)
	}
}

func TestReady(t *testing.T) {
	if ok, why := open(t, Config{}).Ready(); !ok {
		t.Errorf("a store without sources is not ready: %s", why)
	}
	s := newSite(t, setOf(t, "k"), 0)
	if ok, _ := s.store.Ready(); ok {
		t.Error("ready before the first fetch")
	}
	refresh(t, s.store)
	if ok, why := s.store.Ready(); !ok || why != "" {
		t.Errorf("not ready: %s", why)
	}
}

// TestStatus: what people and metrics see. A kid is the issuer's text: it stays
// one line in the log. JK03.
func TestStatus(t *testing.T) {
	s := newSite(t, strings.Replace(setOf(t, "k1", "KID"), "KID", `../\n\u0000evil`, 1), 0)
	if st := s.store.Status()[0]; st.Usable || st.From != s.url || st.Source != "url" || !st.LastSuccess.IsZero() {
		t.Errorf("before the first fetch: %+v", st)
	}
	refresh(t, s.store)
	st := s.store.Status()[0]
	want := []KeyInfo{{"k1", "ES256", "EC"}, {"../\n\x00evil", "ES256", "EC"}}
	if !slices.Equal(st.Keys, want) || !st.Usable || st.OK != 1 || st.Failed != 0 || st.Failing || time.Since(st.LastSuccess) > time.Minute {
		t.Errorf("status %+v", st)
	}
	if lines := strings.Count(strings.TrimSpace(s.log.String()), "\n"); lines != 0 {
		t.Errorf("the log has %d lines too many:\n%s", lines, s.log)
	}
	doc, err := json.Marshal(st)
	if err != nil || !strings.Contains(string(doc), `"kid":"k1","alg":"ES256","kty":"EC"`) || strings.Contains(string(doc), "last_error") {
		t.Errorf("%s, %v", doc, err)
	}
	s.doc(setOf(t, "k2", "k1"))
	refresh(t, s.store)
	if s.log.count(`added=[k2] removed="[../\n\x00evil]"`) != 1 {
		t.Errorf("log:\n%s", s.log)
	}
}
