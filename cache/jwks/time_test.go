package jwks

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// The tests of this file run in bubbles of testing/synctest: days pass at once.

const localURL = "http://localhost/jwks"

// bubble runs a test with one issuer served from memory. The store is running.
func bubble(t *testing.T, spec Source, test func(t *testing.T, s *site)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &site{switchable: &switchable{}, log: &journal{}}
		s.doc(setOf(t, "k1"))
		wire, closeWire := newWire(s)
		defer closeWire()
		spec.Issuer, spec.URL = iss, localURL
		s.store = open(t, Config{Logger: s.log.logger(), Sources: []Source{spec}})
		wire.attach(s.store)
		stop := run(t, s.store)
		defer stop()
		synctest.Wait()
		test(t, s)
	})
}

// pass lets time pass, and everything that is due happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func down(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }

// TestRefreshOnTime: keys are there at once, and are fetched again within
// Refresh, not at the same moment by all. A key that was withdrawn is gone by
// then. JK12, JK16, F36.
func TestRefreshOnTime(t *testing.T) {
	bubble(t, Source{Refresh: time.Minute}, func(t *testing.T, s *site) {
		wantKids(t, s.store, iss, "k1")
		gaps := map[time.Duration]bool{}
		last := time.Now()
		for range 50 {
			s.set(func(http.ResponseWriter, *http.Request) { t.Error("fetched when not due") })
			next := s.store.Status()[0].Next
			gap := next.Sub(last)
			if gap < 45*time.Second || gap > time.Minute {
				t.Fatalf("the next refresh is in %s", gap)
			}
			gaps[gap] = true
			pass(gap - time.Nanosecond)
			s.doc(setOf(t, "k2"))
			pass(time.Nanosecond)
			wantKids(t, s.store, iss, "k2")
			last = next
		}
		if len(gaps) < 40 {
			t.Errorf("50 refreshes came at %d different distances: replicas would stay aligned", len(gaps))
		}
	})
}

// TestBackOff: retries come at random moments under a ceiling that doubles up
// to Refresh, and the next good answer is in force as soon as it is fetched.
func TestBackOff(t *testing.T) {
	bubble(t, Source{Refresh: time.Minute}, func(t *testing.T, s *site) {
		s.set(down)
		pass(time.Minute)
		for failures := int64(1); failures < 40; failures++ {
			st := s.store.Status()[0]
			ceiling := min(time.Minute, time.Second<<min(failures-1, 30))
			if !st.Failing || int64(st.Failed) < failures {
				t.Fatalf("after failure %d: %+v", failures, st)
			}
			if failures == int64(st.Failed) && time.Until(st.Next) > ceiling {
				t.Errorf("after failure %d the next try is in %s, past %s", failures, time.Until(st.Next), ceiling)
			}
			pass(time.Until(st.Next))
		}
		wantKids(t, s.store, iss, "k1")
		s.doc(setOf(t, "k2"))
		pass(time.Minute)
		wantKids(t, s.store, iss, "k2")
		if a, b := s.log.count("not refreshed"), s.log.count("refreshed again"); a != 1 || b != 1 {
			t.Errorf("40 failures were logged %d times, the recovery %d times:\n%s", a, b, s.log)
		}
	})
}

// TestDownAtStart: an issuer without keys is tried again soon, whatever its
// refresh interval. F32.
func TestDownAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		up, sick := &switchable{}, &switchable{}
		up.doc(setOf(t, "a"))
		sick.set(down)
		mux := http.NewServeMux()
		mux.Handle("/up", up)
		mux.Handle("/sick", sick)
		wire, closeWire := newWire(mux)
		defer closeWire()
		s := open(t, Config{Sources: []Source{
			{Issuer: "up", URL: "http://localhost/up", Refresh: time.Hour},
			{Issuer: "sick", URL: "http://localhost/sick", Refresh: time.Hour},
		}})
		wire.attach(s)
		if ok, why := s.Ready(); ok || why != "no keys for sick, up" {
			t.Errorf("before Run: ready %v, %s", ok, why)
		}
		stop := run(t, s)
		defer stop()
		pass(time.Second)
		wantKids(t, s, "up", "a")
		wantKids(t, s, "sick")
		if ok, why := s.Ready(); !ok || why != "no keys for sick" {
			t.Errorf("with one issuer down: ready %v, %s", ok, why)
		}
		pass(6 * time.Hour)
		if n := sick.count.Load(); n < 2000 {
			t.Errorf("tried %d times in six hours", n)
		}
		sick.doc(setOf(t, "b"))
		pass(backoffCold)
		wantKids(t, s, "sick", "b")
		if ok, why := s.Ready(); !ok || why != "" {
			t.Errorf("with all keys: ready %v, %s", ok, why)
		}
	})
}

// TestMaxStale: the last good set outlives a day of failures and no more; the
// next good answer ends that. F33.
func TestMaxStale(t *testing.T) {
	bubble(t, Source{}, func(t *testing.T, s *site) {
		last := s.store.Status()[0].LastSuccess
		s.set(down)
		pass(24*time.Hour - time.Since(last))
		wantKids(t, s.store, iss, "k1")
		pass(time.Nanosecond)
		wantKids(t, s.store, iss)
		if ok, why := s.store.Ready(); ok || why != "no keys for "+iss {
			t.Errorf("ready %v, %s", ok, why)
		}
		pass(time.Hour)
		if n := s.log.count("too old"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, s.log)
		}
		if st := s.store.Status()[0]; st.Usable || len(st.Keys) != 1 {
			t.Errorf("status %+v", st)
		}
		s.doc(setOf(t, "k2"))
		pass(backoffCold)
		wantKids(t, s.store, iss, "k2")
	})
}

// TestSlowIssuer: one that takes half a minute is given up on after five
// seconds, and nobody else waits for it. F34.
func TestSlowIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var given atomic.Int64
		mux := http.NewServeMux()
		mux.HandleFunc("/fast", serve(setOf(t, "a")))
		mux.HandleFunc("/slow", func(w http.ResponseWriter, r *http.Request) {
			began := time.Now()
			select {
			case <-r.Context().Done():
				given.Store(int64(time.Since(began)))
			case <-time.After(30 * time.Second):
			}
		})
		wire, closeWire := newWire(mux)
		defer closeWire()
		s := open(t, Config{Sources: []Source{
			{Issuer: "slow", URL: "http://localhost/slow"}, {Issuer: "fast", URL: "http://localhost/fast"},
		}})
		wire.attach(s)
		stop := run(t, s)
		defer stop()
		pass(100 * time.Millisecond)
		wantKids(t, s, "fast", "a")
		began := time.Now()
		for range 1000 {
			s.Wanted("slow")
			wantKids(t, s, "slow")
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("checks waited %s", took)
		}
		pass(6 * time.Second)
		if d := time.Duration(given.Load()); d < 4*time.Second || d > 5*time.Second {
			t.Errorf("given up after %s", d)
		}
		if err := s.Refresh(t.Context(), "slow"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Refresh = %v", err)
		}
	})
}

// TestDrip: a body that comes a byte at a time is given up on as well.
func TestDrip(t *testing.T) {
	bubble(t, Source{}, func(t *testing.T, s *site) {
		doc := setOf(t, "k2")
		s.set(func(w http.ResponseWriter, _ *http.Request) {
			for i := range doc {
				if _, err := w.Write([]byte(doc[i : i+1])); err != nil {
					return
				}
				_ = http.NewResponseController(w).Flush()
				<-time.After(50 * time.Millisecond)
			}
		})
		began := time.Now()
		err := s.store.Refresh(t.Context(), iss)
		if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != defaultTimeout {
			t.Errorf("Refresh = %v after %s", err, took)
		}
		wantKids(t, s.store, iss, "k1")
		pass(time.Second) // let the server notice
	})
}

// TestManyIssuers: a thousand issuers are not fetched at the same moment, at
// start or later, and each has its own keys. JK05, JK16.
func TestManyIssuers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 300
		var at [n][]time.Time
		docs := make([]string, n)
		c := Config{}
		for i := range n {
			docs[i] = setOf(t, fmt.Sprint("k", i))
			c.Sources = append(c.Sources, Source{Issuer: fmt.Sprint("i", i), URL: fmt.Sprint("http://localhost/", i), Refresh: time.Minute})
		}
		begun := make(chan int, n)
		wire, closeWire := newWire(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var i int
			_, _ = fmt.Sscanf(r.URL.Path, "/%d", &i)
			begun <- i
			serve(docs[i])(w, r)
		}))
		defer closeWire()
		s := open(t, c)
		wire.attach(s)
		stop := run(t, s)
		defer stop()
		distinct := map[time.Time]bool{}
		for range 2 * n {
			i := <-begun
			at[i] = append(at[i], time.Now())
			distinct[time.Now()] = true
		}
		synctest.Wait()
		if len(distinct) < n {
			t.Errorf("%d fetches at %d moments", 2*n, len(distinct))
		}
		for i := range n {
			wantKids(t, s, fmt.Sprint("i", i), fmt.Sprint("k", i))
			if len(at[i]) == 0 {
				t.Errorf("issuer %d was never fetched", i)
			}
		}
	})
}

// TestStop: Run ends at once, also in the middle of a fetch, and that fetch is
// no failure.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &site{switchable: &switchable{}, log: &journal{}}
		s.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		wire, closeWire := newWire(s)
		defer closeWire()
		s.store = open(t, Config{Logger: s.log.logger(), Sources: []Source{{Issuer: iss, URL: localURL}}})
		wire.attach(s.store)
		stop := run(t, s.store)
		pass(time.Second)
		began := time.Now()
		stop()
		if took := time.Since(began); took != 0 {
			t.Errorf("stopping took %s", took)
		}
		if st := s.store.Status()[0]; st.Failed != 0 || s.log.String() != "" {
			t.Errorf("status %+v, log %s", st, s.log)
		}
	})
}

// TestPanic: a bug in our own code is a failed refresh, not the end of the
// process.
func TestPanic(t *testing.T) {
	bubble(t, Source{}, func(t *testing.T, s *site) {
		s.store.order[0].fetch.client.Transport = panics{}
		err := s.store.Refresh(t.Context(), iss)
		if err == nil || !strings.Contains(err.Error(), "panic") {
			t.Errorf("Refresh = %v", err)
		}
		wantKids(t, s.store, iss, "k1")
	})
}

type panics struct{}

func (panics) RoundTrip(*http.Request) (*http.Response, error) { panic("bug") }
