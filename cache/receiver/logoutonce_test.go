package receiver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// TestLogoutRepeat: the same logout again is stored once, another one under its
// name never.
func TestLogoutRepeat(t *testing.T) {
	s := newLogouts(t, nil)
	first := s.token(t, nil)
	again := s.token(t, nil) // the same claims, another signature
	if first == again {
		t.Fatal("two signatures are equal")
	}
	other := s.token(t, obj{"sid": "s2"})
	for i, c := range []struct {
		token  string
		status int
		why    string
	}{
		{first, 200, ""}, {first, 200, ""}, {again, 200, ""},
		{other, 400, "jti was used"}, {first, 200, ""},
		{s.token(t, obj{"sid": "s2", "jti": "L1"}), 200, ""}, // exact bytes (RV02)
	} {
		if a := s.post(t, c.token); a.status != c.status || !strings.Contains(a.description, c.why) {
			t.Errorf("%d: %d %s", i, a.status, a.description)
		}
	}
	if got := s.show(); got != "revoke ended session=s1\nrevoke ended session=s2" {
		t.Errorf("got %s", got)
	}
	if stats := s.Stats(); stats.Taken != 2 || stats.Repeated != 3 || stats.Refused != 1 {
		t.Errorf("%+v", stats)
	}
	// A repeat is judged like the first: it may have expired meanwhile.
	s.now = func() time.Time { return moment.Add(151 * time.Second) }
	s.post(t, first).want(t, 400, "expired")
}

// TestLogoutOfTwoClients: each client has its endpoint, each its token (providers
// 19); one jti in both is two logouts.
func TestLogoutOfTwoClients(t *testing.T) {
	s := newLogouts(t, nil)
	second := newLogouts(t, func(c *Config) {
		c.Audience, c.Keys, c.Sink = "client-2", s.Keys, s.sink
	})
	s.post(t, s.token(t, nil)).want(t, 200, "")
	send(t, "POST", second.url, form, "logout_token="+s.token(t, obj{"aud": "client-2"})).want(t, 200, "")
	if got := s.show(); got != "revoke ended session=s1\nrevoke ended session=s1" {
		t.Errorf("got %s", got)
	}
}

// TestLogoutRaces: of many that come at once each is answered after it is
// stored, and it is stored once; of two contents under one jti one wins (RV22).
func TestLogoutRaces(t *testing.T) {
	var stored atomic.Bool
	var calls atomic.Int64
	begun, release := make(chan struct{}), make(chan struct{})
	s := newLogouts(t, func(c *Config) {
		c.Sink = func(context.Context, ...Effect) error {
			if calls.Add(1) == 1 {
				close(begun)
			}
			<-release
			stored.Store(true)
			return nil
		}
	})
	tokens := [2]string{s.token(t, nil), s.token(t, obj{"sid": "s2"})}
	var ok, refused [2]atomic.Int64
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			a := s.post(t, tokens[i%2])
			if !stored.Load() {
				t.Errorf("answered %d before it was stored", a.status)
			}
			switch a.status {
			case 200:
				ok[i%2].Add(1)
			case 400:
				refused[i%2].Add(1)
			default:
				t.Errorf("answered %d", a.status)
			}
		})
	}
	<-begun
	close(release)
	wg.Wait()
	winner := 0
	if ok[1].Load() > 0 {
		winner = 1
	}
	if calls.Load() != 1 || ok[winner].Load() != 20 || refused[1-winner].Load() != 20 {
		t.Errorf("stored %d times; 200: %d, %d; 400: %d, %d", calls.Load(), ok[0].Load(), ok[1].Load(), refused[0].Load(), refused[1].Load())
	}
}

// TestLogoutSinkFails: what is not stored is never a 200, and may come again.
func TestLogoutSinkFails(t *testing.T) {
	s := newLogouts(t, nil)
	token := s.token(t, nil)
	for _, err := range []error{errors.New("disk full"), context.DeadlineExceeded, fmt.Errorf("append: %w", context.Canceled)} {
		s.fail(err)
		if a := s.post(t, token); a.status != 503 {
			t.Errorf("%v: %d", err, a.status)
		}
	}
	s.fail(fmt.Errorf("append: %w", ErrOtherContent)) // another replica took it
	s.post(t, token).want(t, 400, "jti was used")
	if stats := s.Stats(); stats.Taken != 0 || stats.Failed != 3 || stats.Refused != 1 || !stats.LastTaken.IsZero() {
		t.Errorf("%+v", stats)
	}
	s.fail(nil)
	s.post(t, token).want(t, 200, "")
	if got := s.show(); got != "revoke ended session=s1" {
		t.Errorf("got %s", got)
	}
}

// TestLogoutSinkPanics: the sender gets no answer, and its second try is stored.
func TestLogoutSinkPanics(t *testing.T) {
	kept := &memory{}
	var calls atomic.Int64
	s := newLogouts(t, func(c *Config) {
		c.Sink = func(ctx context.Context, effects ...Effect) error {
			if calls.Add(1) == 1 {
				panic(http.ErrAbortHandler) // the one that the server does not log
			}
			return kept.sink(ctx, effects...)
		}
	})
	body := url.Values{"logout_token": {s.token(t, nil)}}
	if resp, err := http.PostForm(s.url, body); err == nil {
		_ = resp.Body.Close()
		t.Fatalf("answered %d", resp.StatusCode)
	}
	resp, err := http.PostForm(s.url, body)
	if err != nil {
		t.Fatal(err)
	}
	readAnswer(t, resp).want(t, 200, "")
	if got := kept.show(); got != "revoke ended session=s1" {
		t.Errorf("got %s", got)
	}
}

// TestLogoutSenderGone: a sender that hangs up does not take its logout along;
// it will not send it again (providers 16).
func TestLogoutSenderGone(t *testing.T) {
	begun, hungUp, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	s := newLogouts(t, func(c *Config) {
		c.Sink = func(ctx context.Context, _ ...Effect) error {
			close(begun)
			<-hungUp
			result <- ctx.Err()
			return ctx.Err()
		}
	})
	gone := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		context.AfterFunc(req.Context(), func() { close(gone) })
		s.ServeHTTP(w, req)
	}))
	defer server.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "POST", server.URL, strings.NewReader("logout_token="+s.token(t, nil)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", form)
	go func() { <-begun; hangUp() }()
	if resp, err := http.DefaultClient.Do(req); err == nil {
		_ = resp.Body.Close()
		t.Fatalf("answered %d", resp.StatusCode)
	}
	<-gone // the server knows
	close(hungUp)
	if err := <-result; err != nil {
		t.Errorf("the sink was told to stop: %v", err)
	}
}

// inBubble is a client's endpoint without a network, so that time is the
// bubble's. It answers with what post gives.
func inBubble(t *testing.T, change func(*Config)) (l *Logout, post func(token string) answered) {
	t.Helper()
	c := Config{Issuer: idp, Audience: "client-1", Sink: (&memory{}).sink}
	change(&c)
	l, err := NewLogout(c)
	if err != nil {
		t.Fatal(err)
	}
	l.now = func() time.Time { return moment }
	return l, func(token string) answered {
		req := httptest.NewRequest("POST", "/", strings.NewReader("logout_token="+token))
		req.Header.Set("Content-Type", form)
		w := httptest.NewRecorder()
		l.ServeHTTP(w, req)
		return readAnswer(t, w.Result())
	}
}

// TestLogoutNewKey: a logout by a key that was rotated in just now waits until
// the key is there, and no longer than its sender.
func TestLogoutNewKey(t *testing.T) {
	old, rotated := newSigner(t, "k1"), newSigner(t, "k2")
	before, after := keys(t, old), keys(t, old, rotated)
	token := rotated.sign(t, "logout+jwt", logoutClaims(nil))
	none := func() (*jose.KeySet, bool) { return nil, false }
	for _, c := range []struct {
		name   string
		first  func() (*jose.KeySet, bool)
		then   func() (*jose.KeySet, bool)
		after  time.Duration
		token  string
		status int
		took   time.Duration
	}{
		{"known", after, after, 0, token, 200, 0},
		{"fetched", before, after, 500 * time.Millisecond, token, 200, 500 * time.Millisecond},
		{"first keys", none, after, 500 * time.Millisecond, token, 200, 500 * time.Millisecond},
		{"fetched too late", before, after, 2 * time.Second, token, 400, keyWait},
		{"never", before, before, 0, token, 400, keyWait},
		{"no keys", none, none, 0, token, 503, keyWait},
		{"fetched, and the signature is wrong", before, after, 100 * time.Millisecond, token[:len(token)-4] + "AAAA", 400, 100 * time.Millisecond},
		{"fetched, and it is not for us", before, after, 100 * time.Millisecond, rotated.sign(t, "logout+jwt", logoutClaims(obj{"aud": "x"})), 400, 100 * time.Millisecond},
		{"wrong from the start", before, after, 100 * time.Millisecond, old.sign(t, "logout+jwt", logoutClaims(obj{"exp": nil})), 400, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var now atomic.Pointer[func() (*jose.KeySet, bool)]
				now.Store(&c.first)
				var wanted atomic.Int64
				_, post := inBubble(t, func(config *Config) {
					config.Keys = func() (*jose.KeySet, bool) { return (*now.Load())() }
					config.KeyWanted = func() { wanted.Add(1) }
				})
				time.AfterFunc(c.after, func() { now.Store(&c.then) })
				begun := time.Now()
				a := post(c.token)
				took := time.Since(begun)
				if a.status != c.status || took < c.took || took > c.took+2*keyEvery {
					t.Errorf("%d after %v, want %d after %v", a.status, took, c.status, c.took)
				}
				if c.status == 200 && c.took > 0 && c.name == "fetched" && wanted.Load() != 1 {
					t.Errorf("the key was asked for %d times", wanted.Load())
				}
				time.Sleep(3 * time.Second) // the bubble's: let AfterFunc end
			})
		})
	}
}

// TestLogoutManyWait: tokens with keys that nobody knows hold up so many
// requests and no more, and none that is signed by a known one.
func TestLogoutManyWait(t *testing.T) {
	known, unknown := newSigner(t, "k1"), newSigner(t, "k2")
	synctest.Test(t, func(t *testing.T) {
		_, post := inBubble(t, func(c *Config) { c.Keys = keys(t, known) })
		begun := time.Now()
		for range keyWaiters {
			go post(unknown.sign(t, "logout+jwt", logoutClaims(nil)))
		}
		synctest.Wait()
		if a := post(unknown.sign(t, "logout+jwt", logoutClaims(nil))); a.status != 503 {
			t.Errorf("one more: %d", a.status)
		}
		if a := post(known.sign(t, "logout+jwt", logoutClaims(nil))); a.status != 200 {
			t.Errorf("a good one: %d", a.status)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("they waited %v", took)
		}
		time.Sleep(2 * keyWait) // the bubble's
		if a := post(unknown.sign(t, "logout+jwt", logoutClaims(nil))); a.status != 400 {
			t.Errorf("afterwards: %d", a.status)
		}
	})
}

// TestLogoutSinkHangs: a sink that never ends is told to, and the sender too.
func TestLogoutSinkHangs(t *testing.T) {
	signer := newSigner(t, "k1")
	synctest.Test(t, func(t *testing.T) {
		_, post := inBubble(t, func(c *Config) {
			c.Keys = keys(t, signer)
			c.Sink = func(ctx context.Context, _ ...Effect) error { <-ctx.Done(); return ctx.Err() }
		})
		begun := time.Now()
		a := post(signer.sign(t, "logout+jwt", logoutClaims(nil)))
		if took := time.Since(begun); a.status != 503 || took != sinkTime {
			t.Errorf("%d after %v", a.status, took)
		}
	})
}
