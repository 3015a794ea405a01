package introspect

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

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
	if i.asked.Load() != 1 {
		t.Error("asked after the end")
	}
}

// pipes is a network in memory, for tests with a clock of their own.
type pipes struct {
	conns chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.done) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }
func (p *pipes) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// inBubble runs a test with an issuer whose answers can be changed, and a clock
// that only waiting moves.
func inBubble(t *testing.T, c Config, test func(t *testing.T, i *issuer, s *tester)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		i.answer(says(200, active))
		p := &pipes{conns: make(chan net.Conn), done: make(chan struct{})}
		server := &http.Server{Handler: i}
		stopped := make(chan struct{})
		go func() { defer close(stopped); _ = server.Serve(p) }()
		c.URL = "http://localhost/introspect"
		s := open(t, c)
		s.http.Transport.(*http.Transport).DialContext = p.dial
		test(t, i, s)
		s.Client.Close()
		_ = server.Close()
		<-stopped
	})
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// TestTime: nobody waits for longer than the timeout, and who comes late to a
// question waits for no longer than the question.
func TestTime(t *testing.T) {
	inBubble(t, Config{Timeout: 200 * time.Millisecond}, func(t *testing.T, i *issuer, s *tester) {
		i.answer(hang)
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { s.want(t, ErrUnavailable) })
		<-time.After(150 * time.Millisecond)
		wg.Go(func() { s.want(t, ErrUnavailable) })
		wg.Wait()
		if d := time.Since(start); d != 200*time.Millisecond || i.asked.Load() != 1 {
			t.Errorf("%s, asked %d times", d, i.asked.Load())
		}
		// What the late one hears, he hears in time.
		i.answer(func(w http.ResponseWriter, r *http.Request) {
			<-time.After(190 * time.Millisecond)
			says(200, active)(w, r)
		})
		start = time.Now()
		wg.Go(func() { s.want(t, nil) })
		<-time.After(180 * time.Millisecond)
		wg.Go(func() { s.want(t, nil) })
		wg.Wait()
		if d := time.Since(start); d != 190*time.Millisecond || i.asked.Load() != 2 {
			t.Errorf("%s, asked %d times", d, i.asked.Load())
		}
	})
}

// TestPause: five questions without any answer, then none for a second, then
// one.
func TestPause(t *testing.T) {
	inBubble(t, Config{Timeout: 200 * time.Millisecond}, func(t *testing.T, i *issuer, s *tester) {
		took := func(want time.Duration, err error) {
			t.Helper()
			start := time.Now()
			s.want(t, err)
			if d := time.Since(start); d != want {
				t.Errorf("it took %s, want %s", d, want)
			}
			synctest.Wait() // the question is settled too
		}
		// Bad answers are answers.
		for _, bad := range []http.HandlerFunc{says(400, ""), says(503, ""), says(401, ""), says(200, "")} {
			i.answer(bad)
			for range 2 * pauseAfter {
				took(0, ErrUnavailable)
			}
		}
		i.answer(hang)
		for range pauseAfter - 1 {
			took(200*time.Millisecond, ErrUnavailable)
		}
		i.answer(says(500, ""))
		took(0, ErrUnavailable)
		i.answer(hang)
		for range pauseAfter {
			took(200*time.Millisecond, ErrUnavailable)
		}
		before := i.asked.Load()
		for range 100 {
			took(0, ErrUnavailable)
		}
		<-time.After(pauseTime - time.Millisecond)
		took(0, ErrUnavailable)
		if i.asked.Load() != before || s.Status().NotAsked != 101 {
			t.Errorf("asked %d times, status %+v", i.asked.Load()-before, s.Status())
		}

		// One question, and a pause again.
		<-time.After(time.Millisecond)
		var wg sync.WaitGroup
		wg.Go(func() { took(200*time.Millisecond, ErrUnavailable) })
		synctest.Wait()
		if _, err := s.Introspect("another"); !errors.Is(err, ErrUnavailable) || i.asked.Load() != before+1 {
			t.Errorf("%v, asked %d times", err, i.asked.Load()-before)
		}
		wg.Wait()
		took(0, ErrUnavailable)

		// One question with an answer ends it.
		<-time.After(pauseTime)
		i.answer(says(200, `{"active":false}`))
		took(0, ErrInactive)
		took(0, ErrInactive)
		i.answer(hang)
		took(200*time.Millisecond, ErrUnavailable)
		took(200*time.Millisecond, ErrUnavailable)
	})
}

// TestRotation: a new secret is used within a second, and at once where the old
// one is refused; a file that is being replaced does no harm.
func TestRotation(t *testing.T) {
	var want atomic.Pointer[string]
	inBubble(t, Config{Timeout: 200 * time.Millisecond}, func(t *testing.T, i *issuer, s *tester) {
		is := func(secret string) { want.Store(&secret) }
		i.answer(func(w http.ResponseWriter, r *http.Request) {
			if _, secret, _ := r.BasicAuth(); secret != *want.Load() {
				says(401, `{"error":"invalid_client"}`)(w, r)
				return
			}
			says(200, active)(w, r)
		})
		is("s3cret+of+holdfast")
		s.want(t, nil)
		s.write(t, "second\n")
		s.want(t, nil) // not read again yet
		is("second")
		<-time.After(secretEvery)
		s.want(t, nil)

		is("third")
		s.want(t, ErrUnavailable)
		s.write(t, "third")
		s.want(t, nil) // at once

		for _, bad := range []string{"", "\n", strings.Repeat("x", maxSecret+1)} {
			s.write(t, bad)
			<-time.After(secretEvery)
			s.want(t, nil)
		}
		if n := strings.Count(s.logged(), "not read again"); n != 1 {
			t.Errorf("logged %d times:\n%s", n, s.logged())
		}
		s.write(t, "fourth")
		is("fourth")
		<-time.After(secretEvery)
		s.want(t, nil)
		if strings.Contains(s.logged(), "third") || strings.Contains(s.logged(), "fourth") {
			t.Errorf("a secret is in the log:\n%s", s.logged())
		}
	})
}

// TestAlarm: an issuer that refuses Holdfast itself is one line in the log, and
// so is the end of it; a state that flickers is a line in ten seconds.
func TestAlarm(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, i *issuer, s *tester) {
		lines := func(want int) {
			t.Helper()
			if n := strings.Count(s.logged(), "\n"); n != want {
				t.Fatalf("%d lines, want %d:\n%s", n, want, s.logged())
			}
		}
		i.answer(says(401, `{"error":"invalid_client"}`))
		for range 10 {
			s.want(t, ErrUnavailable)
		}
		lines(1)
		if !strings.Contains(s.logged(), "level=ERROR") || !strings.Contains(s.logged(), "client_id or secret") {
			t.Errorf("log %s", s.logged())
		}
		if st := s.Status(); !st.Credentials || !st.Failing || st.Failed != 10 {
			t.Errorf("status %+v", st)
		}
		i.answer(says(200, active))
		s.want(t, nil)
		s.want(t, nil)
		lines(2)
		if st := s.Status(); st.Credentials || st.Failing || st.Failed != 10 || st.Calls != 12 || st.LastError == "" {
			t.Errorf("status %+v", st)
		}
		flicker := func() {
			for range 100 {
				i.answer(says(400, `{"error":"unsupported_token_type"}`))
				s.want(t, ErrUnavailable)
				i.answer(says(200, active))
				s.want(t, nil)
			}
		}
		flicker()
		lines(4)
		<-time.After(logGap)
		flicker()
		lines(6)
		// What stays is told, however soon it came again.
		i.answer(says(400, ""))
		s.want(t, ErrUnavailable)
		lines(6)
		<-time.After(logGap)
		s.want(t, ErrUnavailable)
		s.want(t, ErrUnavailable)
		lines(7)
	})
}
