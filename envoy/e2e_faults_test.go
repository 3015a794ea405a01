package envoy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// TestHoldfastGone: killed, nobody gets in, the public routes included.
func TestHoldfastGone(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, hardened)
	token := s.issuer.Token(time.Now())
	s.holdfast.Kill()
	for range 20 {
		for _, path := range []string{"/orders", "/public/a", "/admin"} {
			if r := e.get(t, path, token); r.status != http.StatusServiceUnavailable {
				t.Fatalf("%s without Holdfast: %d %s", path, r.status, r.body)
			}
		}
	}
	s.start(t)
	s.ready(t, e)
}

// loseLog restarts Holdfast on a feed whose log is gone while its head file
// still says that there was one.
func (s *site) loseLog(t *testing.T) {
	t.Helper()
	s.holdfast.Kill()
	if err := os.RemoveAll(filepath.Join(s.dir, "feed", "jetstream")); err != nil {
		t.Fatal(err)
	}
	s.start(t)
}

// TestBrokenFeed: a Holdfast that can not know who is revoked answers 503 as
// an error, with Retry-After; refusals that need no feed stay what they are.
func TestBrokenFeed(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, unasked)
	token := s.issuer.Token(time.Now())
	s.loseLog(t)
	eventually(t, func() error {
		r := e.get(t, "/orders", token)
		if r.seen != nil {
			t.Fatalf("served: %s", r.body)
		}
		if r.line.Reason != "feed_stale" {
			return fmt.Errorf("got %d %q", r.status, r.line.Reason)
		}
		if r.status != http.StatusServiceUnavailable || r.line.Decision != "error" || r.header.Get("Retry-After") == "" || r.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %d %+v %v", r.status, r.line, r.header)
		}
		return nil
	})
	e.get(t, "/orders", "").wants(t, "no token", http.StatusUnauthorized, "credential_missing")
	e.get(t, "/orders", extauthztest.Forge(token)).wants(t, "forged", http.StatusUnauthorized, "signature_invalid")
	e.get(t, "/public/a", "").wants(t, "a public path", http.StatusOK, "anonymous")
}

// TestFailOpen shows what failure_mode_allow: true costs, and what holds even
// there: an error is let through, a denial is not, and on_feed_stale: deny
// makes a denial of a stale feed.
func TestFailOpen(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, failOpen)
	token := s.issuer.Token(time.Now())
	e.get(t, "/orders", "").wants(t, "no token", http.StatusUnauthorized, "credential_missing")
	e.get(t, "/orders", extauthztest.Forge(token)).wants(t, "forged", http.StatusUnauthorized, "signature_invalid")
	e.get(t, "/admin", token).wants(t, "no scope", http.StatusForbidden, "scope_insufficient")
	e.get(t, "/orders", token, "Authorization: x").wants(t, "two", http.StatusBadRequest, "credential_ambiguous")
	s.loseLog(t)
	eventually(t, func() error {
		if r := e.get(t, "/vault", token); r.status != http.StatusServiceUnavailable || r.line.Reason != "feed_stale" || r.line.Decision != "deny" {
			return fmt.Errorf("/vault: got %d %+v", r.status, r.line)
		}
		return nil
	})
	if r := e.get(t, "/orders", token); r.status != http.StatusOK {
		t.Errorf("/orders: %d: an Envoy that fails open has changed, see README.md", r.status)
	}
}

// TestAcknowledgedIsDurable: revoke, 201, kill -9 at once, restart: refused
// every time, and so are all the sessions of the rounds before.
func TestAcknowledgedIsDurable(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, unasked)
	const rounds = 20
	tokens := make([]string, rounds)
	for i := range tokens {
		sid := fmt.Sprintf("session-of-round-%d", i)
		tokens[i] = s.issuer.Token(time.Now(), extauthztest.Claims{"sid": sid})
		e.get(t, "/orders", tokens[i]).wants(t, "before", http.StatusOK, "ok")
		s.revoke(t, sid)
		s.holdfast.Kill()
		s.start(t)
		eventually(t, func() error {
			r := e.get(t, "/orders", tokens[i])
			if r.seen != nil {
				t.Fatalf("round %d: served after its revocation was acknowledged", i)
			}
			if r.line.Reason != "session_revoked" {
				return fmt.Errorf("got %d %q", r.status, r.line.Reason)
			}
			return nil
		})
		s.ready(t, e)
	}
	for i, token := range tokens {
		e.get(t, "/orders", token).wants(t, fmt.Sprint("session of round ", i), http.StatusUnauthorized, "session_revoked")
	}
}

// revoke posts a revocation and returns when it was acknowledged.
func (s *site) revoke(t *testing.T, sid string) {
	t.Helper()
	body, err := json.Marshal(map[string]string{"kind": "session", "value": sid, "issuer": issuerName})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(s.holdfast.Admin+"/v1/revocations", "application/json", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		text, err := io.ReadAll(res.Body)
		t.Fatalf("revoke: %s %s %v", res.Status, text, err)
	}
}
