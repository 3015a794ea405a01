package introspect

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

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
		synctest.Wait()
		// A call that does not end in time holds up nobody who waits for it.
		release, good := make(chan struct{}), s.http.Transport
		s.http.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			<-release
			return nil, r.Context().Err()
		})
		start = time.Now()
		s.want(t, ErrUnavailable)
		if d := time.Since(start); d != 200*time.Millisecond {
			t.Errorf("it took %s", d)
		}
		close(release)
		synctest.Wait()
		s.http.Transport = good
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

// TestPauseEnds: questions from before a pause, which end in it, neither make it
// longer nor use up the one question.
func TestPauseEnds(t *testing.T) {
	var p pause
	start := time.Now()
	for range pauseAfter {
		p.settle(start, false, true)
	}
	for n := range 60 {
		p.settle(start.Add(time.Duration(n)*10*time.Millisecond), false, true)
	}
	if ok, _ := p.admit(start.Add(pauseTime - 1)); ok {
		t.Error("a question in the pause")
	}
	if ok, probe := p.admit(start.Add(pauseTime)); !ok || !probe {
		t.Error("no question after the pause")
	}
	p.settle(start.Add(pauseTime), false, true)
	if ok, _ := p.admit(start.Add(10 * pauseTime)); ok {
		t.Error("a second question while the first is on its way")
	}
	// A late answer is an answer: the issuer is there.
	p.settle(start.Add(pauseTime), false, false)
	if ok, probe := p.admit(start.Add(pauseTime)); !ok || probe {
		t.Error("still a pause")
	}
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
			<-time.After(logGap)
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
