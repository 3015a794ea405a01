package jwks

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// TestRotation: a key that was rotated in works within a second of the first
// token that uses it, also where that token came a moment too early. CA07.
func TestRotation(t *testing.T) {
	bubble(t, Source{Refresh: time.Hour}, func(t *testing.T, s *site) {
		for range 20 {
			name := fmt.Sprint("at ", time.Now())
			s.store.Wanted(iss) // too early
			synctest.Wait()
			pass(100 * time.Millisecond)
			s.doc(setOf(t, name))
			rotated := time.Now()
			for found := false; !found; {
				s.store.Wanted(iss)
				pass(10 * time.Millisecond)
				set, _ := s.store.KeySet(iss)
				found = slices.Equal(kids(set), []string{name})
				if time.Since(rotated) > time.Second {
					t.Fatalf("the new key is not known %s after the rotation", time.Since(rotated))
				}
			}
			pass(demandBurst * demandEvery)
		}
	})
}

// TestFlood: ten thousand unknown kids a second are a fetch every five seconds,
// and a rotation meanwhile is seen within those. JK01, JK02.
func TestFlood(t *testing.T) {
	bubble(t, Source{Refresh: time.Hour}, func(t *testing.T, s *site) {
		before := s.count.Load()
		flood := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); pass(time.Millisecond) {
				for range 10 {
					s.store.Wanted(iss)
				}
			}
		}
		flood(30 * time.Second)
		if n := s.count.Load() - before; n < 3 || n > demandBurst+6 {
			t.Errorf("30 s of flood made %d fetches", n)
		}
		s.doc(setOf(t, "rotated"))
		flood(demandEvery)
		wantKids(t, s.store, iss, "rotated")
	})
}

// TestFloodWhileDown: neither does a flood make a sick issuer's load.
func TestFloodWhileDown(t *testing.T) {
	bubble(t, Source{Refresh: time.Hour}, func(t *testing.T, s *site) {
		s.set(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
		before := s.count.Load()
		for range 60_000 {
			s.store.Wanted(iss)
			pass(time.Millisecond)
		}
		if n := s.count.Load() - before; n > 60 {
			t.Errorf("a minute of flood made %d fetches", n)
		}
		wantKids(t, s.store, iss, "k1")
	})
}

// TestSingleFlight: refreshes at the same time share a fetch.
func TestSingleFlight(t *testing.T) {
	bubble(t, Source{Refresh: time.Hour}, func(t *testing.T, s *site) {
		doc := setOf(t, "k2")
		leave := make(chan struct{})
		s.set(func(w http.ResponseWriter, r *http.Request) {
			<-leave
			serve(doc)(w, r)
		})
		before := s.count.Load()
		const callers = 20
		errs := make(chan error, callers)
		call := func() { errs <- s.store.Refresh(t.Context(), iss) }
		go call()
		synctest.Wait()
		for range callers - 1 { // the first fetch is under way: these share the second
			go call()
		}
		s.store.Wanted(iss)
		synctest.Wait()
		close(leave)
		for range callers {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if n := s.count.Load() - before; n > 3 {
			t.Errorf("%d callers and a wish made %d fetches", callers, n)
		}
		wantKids(t, s.store, iss, "k2")
	})
}

// TestBudget: in no stretch of time are there more refreshes on demand than
// the burst and one for every five seconds of it.
func TestBudget(t *testing.T) {
	var b budget
	now := time.Unix(1_700_000_000, 0)
	var began []time.Time
	for range 2000 {
		now = now.Add(jitter(0, 3*time.Second))
		if !b.at(now).After(now) {
			b.spend(now)
			began = append(began, now)
		}
	}
	for i := range began {
		for j := i + 1; j < min(i+50, len(began)); j++ {
			stretch := began[j].Sub(began[i])
			if most := demandBurst + int(stretch/demandEvery); j-i+1 > most {
				t.Fatalf("%d refreshes in %s", j-i+1, stretch)
			}
			if stretch < demandGap {
				t.Fatalf("two refreshes in %s", stretch)
			}
		}
	}
	if len(began) < 300 {
		t.Errorf("only %d refreshes in %s", len(began), now.Sub(began[0]))
	}
}
