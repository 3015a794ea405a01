package statuslist

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// publisher is an issuer with lists, over HTTP.
type publisher struct {
	*httptest.Server
	issuer *extauthztest.Issuer
	mu     sync.Mutex
	answer http.HandlerFunc
	asked  int
}

func newPublisher(t *testing.T) *publisher {
	p := &publisher{issuer: extauthztest.NewIssuer(t, idp)}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.asked++
		if r.Header.Get("Accept") != "application/statuslist+jwt" || r.URL.RawQuery != "" {
			t.Errorf("asked for %s with %v", r.URL, r.Header)
		}
		p.answer(w, r)
	}))
	t.Cleanup(p.Close)
	return p
}

// gives changes what is published.
func (p *publisher) gives(answer http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer = answer
}

func (p *publisher) list(data []byte, parts ...extauthztest.Part) http.HandlerFunc {
	raw := mint(p.issuer, time.Now(), data, append([]extauthztest.Part{claims{"sub": p.URL + "/lists/1"}}, parts...)...)
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/statuslist+jwt")
		fmt.Fprint(w, raw)
	}
}

func (p *publisher) store(t *testing.T, log *slog.Logger) *Store {
	t.Helper()
	set := keySet(t, p.issuer)
	s, err := New(Config{
		Sources: []Source{{Issuer: idp, URIs: []string{p.URL + "/lists/"}, Algorithms: []string{"ES256"}}},
		Keys:    func(string) (*jose.KeySet, bool) { return set, true }, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// until waits for a condition that another goroutine brings about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	limit := time.NewTimer(20 * time.Second)
	defer limit.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-limit.C:
			t.Fatalf("timed out: %s", what)
		case <-tick.C:
		}
	}
}

// TestStore: a list is known soon after a token has named it, and only where
// it is allowed.
func TestStore(t *testing.T) {
	p := newPublisher(t)
	p.gives(p.list([]byte{0b10}))
	s := p.store(t, nil)
	ctx, stop := context.WithCancel(t.Context())
	var w sync.WaitGroup
	w.Go(func() { _ = s.Run(ctx) })
	defer w.Wait()
	defer stop()
	uri := p.URL + "/lists/1"
	if _, known := s.Valid(idp, uri, 0); known {
		t.Error("known before it was fetched")
	}
	until(t, "the list", func() bool { _, known := s.Valid(idp, uri, 0); return known })
	for index, want := range map[uint64]bool{0: true, 1: false, 2: true, 7: true, 8: false, 1 << 40: false} {
		if valid, known := s.Valid(idp, uri, index); !known || valid != want {
			t.Errorf("%d: valid %v, known %v", index, valid, known)
		}
	}
	for _, other := range []string{p.URL + "/other/1", p.URL + "/lists", "https://evil.example/lists/1", ""} {
		if _, known := s.Valid(idp, other, 0); known {
			t.Errorf("%q is known", other)
		}
	}
	if _, known := s.Valid("https://other.example", uri, 0); known {
		t.Error("the list of another issuer")
	}
	for i := range 2 * maxLists { // there is no room for all that tokens could name
		s.Valid(idp, fmt.Sprintf("%s/lists/%d", p.URL, i+2), 0)
		until(t, "the request to be taken", func() bool { return len(s.wanted) == 0 })
	}
	until(t, "the lists", func() bool { return len(s.Status()) == maxLists })
	if st := s.Status(); len(st) != maxLists {
		t.Errorf("%d lists", len(st))
	}
	if n := testing.AllocsPerRun(100, func() { s.Valid(idp, uri, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestBadAnswers: nothing but a list is one.
func TestBadAnswers(t *testing.T) {
	p := newPublisher(t)
	stranger := extauthztest.NewIssuer(t, idp)
	send := func(status int, kind, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			w.Header().Set("Location", p.URL+"/lists/2")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	good := mint(p.issuer, time.Now(), []byte{1}, claims{"sub": p.URL + "/lists/1"})
	for name, answer := range map[string]http.HandlerFunc{
		"another type":  send(200, "application/json", good),
		"no type":       send(200, "", good),
		"404":           send(404, "application/statuslist+jwt", good),
		"a redirect":    send(302, "application/statuslist+jwt", good),
		"206":           send(206, "application/statuslist+jwt", good),
		"a page":        send(200, "application/statuslist+jwt", "<html>"),
		"another's key": send(200, "application/statuslist+jwt", mint(stranger, time.Now(), []byte{1}, claims{"sub": p.URL + "/lists/1"})),
		"another list":  send(200, "application/statuslist+jwt", mint(p.issuer, time.Now(), []byte{1})),
		"a gzip bomb": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/statuslist+jwt")
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			zeros := make([]byte, 1<<20)
			for range 64 {
				if _, err := z.Write(zeros); err != nil {
					return
				}
			}
			_ = z.Close()
		},
		"a panic": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	} {
		t.Run(name, func(t *testing.T) {
			p.gives(answer)
			s := p.store(t, nil)
			e := s.add(name1(p))
			if err := e.refresh(t.Context()); err == nil {
				t.Error("taken")
			}
			if _, known := s.Valid(idp, p.URL+"/lists/1", 0); known {
				t.Error("known")
			}
		})
	}
	// An answer in gzip is one.
	p.gives(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/statuslist+jwt; charset=utf-8")
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		fmt.Fprint(z, good)
		_ = z.Close()
	})
	s := p.store(t, nil)
	if err := s.add(name1(p)).refresh(t.Context()); err != nil {
		t.Error(err)
	}
}

func name1(p *publisher) name { return name{idp, p.URL + "/lists/1"} }

// TestOlderList: a cache on the way gives what was there before.
func TestOlderList(t *testing.T) {
	p := newPublisher(t)
	s := p.store(t, nil)
	e := s.add(name1(p))
	p.gives(p.list([]byte{1}))
	if err := e.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	p.gives(p.list([]byte{0}, claims{"iat": time.Now().Add(-time.Minute).Unix()}))
	if err := e.refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "before the one in force") {
		t.Errorf("%v", err)
	}
	if valid, known := s.Valid(idp, p.URL+"/lists/1", 0); !known || valid {
		t.Errorf("valid %v, known %v", valid, known)
	}
}

// TestTime is the life of a list, in virtual time: fetched again when its ttl
// is over, in force past that while its host is down, and not past its exp.
func TestTime(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	set := keySet(t, issuer)
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		body, asked, down := "", 0, false
		var log bytes.Buffer
		s, err := New(Config{
			Sources: []Source{{Issuer: idp, URIs: []string{"https://idp.example/statuslists/"}, Algorithms: []string{"ES256"}}},
			Keys:    func(string) (*jose.KeySet, bool) { return set, true },
			Logger:  slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		e := s.add(name{idp, uri})
		e.client = &http.Client{Transport: trip(func(*http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			asked++
			if down {
				return nil, &net.OpError{Op: "dial", Err: net.ErrClosed}
			}
			rec := httptest.NewRecorder()
			rec.Header().Set("Content-Type", "application/statuslist+jwt")
			rec.WriteString(body)
			return rec.Result(), nil
		})}
		publish := func(data byte, parts ...extauthztest.Part) {
			mu.Lock()
			defer mu.Unlock()
			body = mint(issuer, time.Now(), []byte{data}, parts...)
		}
		count := func() int { mu.Lock(); defer mu.Unlock(); n := asked; asked = 0; return n }
		set := func(to bool) { mu.Lock(); defer mu.Unlock(); down = to }
		state := func(valid, known bool) {
			t.Helper()
			synctest.Wait()
			if v, k := s.Valid(idp, uri, 0); v != valid || k != known {
				t.Errorf("at %v: valid %v, known %v; want %v, %v\n%s", time.Now(), v, k, valid, known, log.String())
			}
		}
		publish(0)
		var w sync.WaitGroup
		ctx, stop := context.WithCancel(t.Context())
		w.Go(func() { e.run(ctx) })
		state(true, true)
		publish(1)
		time.Sleep(30 * time.Second)
		state(true, true) // ttl 60s: not due
		time.Sleep(31 * time.Second)
		state(false, true)
		count()
		set(true)
		time.Sleep(50 * time.Minute)
		state(false, true) // down for long, and still within exp
		if n := count(); n < 40 || n > 90 {
			t.Errorf("asked %d times in 50 minutes", n)
		}
		time.Sleep(11 * time.Minute)
		state(false, false) // past exp
		set(false)
		publish(0, claims{"exp": extauthztest.Absent, "ttl": 1})
		time.Sleep(61 * time.Second)
		state(true, true)
		count()
		time.Sleep(time.Minute)
		if n := count(); n > 8 {
			t.Errorf("a ttl of 1s: asked %d times in a minute", n)
		}
		set(true)
		time.Sleep(23 * time.Hour)
		state(true, true)
		time.Sleep(time.Hour)
		state(false, false) // a day without a list that has no exp
		if n := strings.Count(log.String(), "not refreshed"); n != 2 {
			t.Errorf("%d warnings:\n%s", n, log.String())
		}
		stop()
		w.Wait()
	})
}

type trip func(*http.Request) (*http.Response, error)

func (f trip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
