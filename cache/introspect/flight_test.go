package introspect

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// TestOneCall: a thousand ask about one token, and the issuer is asked once.
func TestOneCall(t *testing.T) {
	release := make(chan struct{})
	i := newIssuer(t, func(w http.ResponseWriter, r *http.Request) { <-release; says(200, active)(w, r) })
	s := open(t, Config{URL: i.URL, MaxCalls: 1})
	var (
		wg   sync.WaitGroup
		in   atomic.Int64
		seen [1000]*jose.Object
	)
	for n := range seen {
		wg.Go(func() {
			q, err := s.join(token)
			if in.Add(1) == int64(len(seen)) {
				close(release)
			}
			if err != nil {
				t.Error(err)
				return
			}
			<-q.done
			seen[n] = q.claims
		})
	}
	wg.Wait()
	for _, claims := range seen {
		if claims == nil || claims != seen[0] {
			t.Fatal("the callers got different answers")
		}
	}
	if i.asked.Load() != 1 || s.Status().Calls != 1 || s.Status().NotAsked != 0 {
		t.Errorf("asked %d times, status %+v", i.asked.Load(), s.Status())
	}
	s.want(t, nil) // nothing was remembered
	if i.asked.Load() != 2 {
		t.Errorf("asked %d times", i.asked.Load())
	}
}

// TestMaxCalls: a thousand tokens, eight questions at one time, and the rest is
// told at once that there is no answer.
func TestMaxCalls(t *testing.T) {
	release := make(chan struct{})
	var now, most atomic.Int64
	i := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release
		now.Add(-1)
		says(200, `{"active":true,"sub":"`+r.PostFormValue("token")+`"}`)(w, r)
	})
	s := open(t, Config{URL: i.URL, MaxCalls: 8})
	const all = 1000
	var (
		wg         sync.WaitGroup
		good, busy atomic.Int64
	)
	for n := range all {
		wg.Go(func() {
			name := "token-" + strconv.Itoa(n)
			claims, err := s.Introspect(name)
			switch {
			case err == nil:
				good.Add(1)
				if v, _ := claims.Get("sub"); v.Raw() != `"`+name+`"` {
					t.Errorf("the answer about %s is of %s", name, v.Raw())
				}
			case errors.Is(err, ErrUnavailable):
				if busy.Add(1) == all-8 {
					close(release)
				}
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if good.Load() != 8 || busy.Load() != all-8 || most.Load() > 8 || s.Status().NotAsked != all-8 {
		t.Errorf("%d answers, %d refused, %d at one time, status %+v", good.Load(), busy.Load(), most.Load(), s.Status())
	}
	if st := s.Status(); st.Failing || len(s.calls) != 0 || s.logged() != "" {
		t.Errorf("status %+v, %d calls left, log %s", st, len(s.calls), s.logged())
	}
}

// TestStorm: many callers, few tokens, an issuer of many moods. Each answer is
// the one about its token, or none.
func TestStorm(t *testing.T) {
	var n atomic.Int64
	i := newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		name := r.PostFormValue("token")
		switch k := n.Add(1); {
		case k%7 == 0:
			panic(http.ErrAbortHandler)
		case k%5 == 0:
			says(503, "")(w, r)
		case strings.HasPrefix(name, "dead"):
			says(200, `{"active":false}`)(w, r)
		default:
			says(200, `{"active":true,"sub":"`+name+`"}`)(w, r)
		}
	})
	s := open(t, Config{URL: i.URL, MaxCalls: 8})
	var wg sync.WaitGroup
	for g := range 50 {
		wg.Go(func() {
			for k := range 40 {
				name := []string{"live", "dead"}[k%2] + strconv.Itoa((g+k)%10)
				claims, err := s.Introspect(name)
				switch {
				case errors.Is(err, ErrUnavailable):
				case errors.Is(err, ErrInactive) == strings.HasPrefix(name, "live"):
					t.Errorf("%s: %v", name, err)
				case err == nil:
					if v, _ := claims.Get("sub"); v.Raw() != `"`+name+`"` {
						t.Errorf("the answer about %s is of %s", name, v.Raw())
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestPanic: no bug, in the client or in what it calls, is an answer.
func TestPanic(t *testing.T) {
	i := newIssuer(t, says(200, active))
	s := open(t, Config{URL: i.URL})
	good := s.http.Transport
	for _, value := range []any{errors.New(token), token, nil} {
		s.http.Transport = roundTrip(func(*http.Request) (*http.Response, error) {
			if value == nil {
				var none map[string]int
				none["a"] = 1
			}
			panic(value)
		})
		s.want(t, ErrUnavailable)
		if st := s.Status(); !strings.HasPrefix(st.LastError, "panic") || strings.Contains(st.LastError+s.logged(), token) {
			t.Errorf("status %+v, log %s", st, s.logged())
		}
	}
	s.http.Transport = good
	s.want(t, nil)

	s.c.Counted = func(string) { panic("counted") }
	s.want(t, ErrUnavailable)
	s.c.Counted = func(string) {}
	s.state.log = slog.New(slog.NewTextHandler(panics{}, nil))
	i.answer(says(500, ""))
	s.want(t, ErrUnavailable)
	if len(s.calls) != 0 {
		t.Errorf("%d calls left", len(s.calls))
	}
	i.answer(says(200, active))
	s.want(t, ErrUnavailable) // it logs that all is well again
	s.want(t, nil)
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type panics struct{}

func (panics) Write([]byte) (int, error) { panic("log") }

func TestClose(t *testing.T) {
	asked := make(chan struct{})
	i := newIssuer(t, func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	s := open(t, Config{URL: i.URL})
	ended := make(chan error)
	go func() { _, err := s.Introspect(token); ended <- err }()
	<-asked
	s.Client.Close()
	if err := <-ended; !errors.Is(err, ErrUnavailable) {
		t.Errorf("Introspect = %v", err)
	}
	if st := s.Status(); st.Failed != 0 || s.logged() != "" {
		t.Errorf("an end is a failure: %+v %s", st, s.logged())
	}
	s.want(t, ErrUnavailable)
	if i.asked.Load() != 1 || s.Status().NotAsked != 1 {
		t.Errorf("asked after the end: %+v", s.Status())
	}
}
