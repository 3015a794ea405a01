package envoy_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/envoy"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// TestAnswers: status, challenge, caching and body of each kind of refusal as
// a client sees it, and the dynamic metadata as Envoy's access log does.
func TestAnswers(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, hardened)
	now := time.Now()
	for _, c := range []struct {
		what, first, token string
		status             int
		reason, code       string
		challenge          string // "" = none
		class, route       string
		decision           string
	}{
		{"ok", "GET /orders", s.issuer.Token(now), 200, "ok", "", "", "people", "", "allow"},
		{"anonymous", "GET /public/a", "", 200, "anonymous", "", "", "", "public", "allow"},
		{"missing", "GET /orders", "", 401, "credential_missing", "invalid_token", "Bearer", "", "", "deny"},
		{"ambiguous", "GET /orders", "a,Bearer b", 400, "credential_ambiguous", "invalid_request", `Bearer error="invalid_request"`, "", "", "deny"},
		{"expired", "GET /admin", s.issuer.Token(now.Add(-time.Hour)), 401, "token_expired", "invalid_token", `Bearer error="invalid_token"`, "", "admin", "deny"},
		{"scope", "GET /admin", s.issuer.Token(now), 403, "scope_insufficient", "insufficient_scope", `Bearer error="insufficient_scope", scope="admin"`, "people", "admin", "deny"},
		{"step-up", "POST /transfer/1", s.issuer.Token(now, extauthztest.Claims{"acr": "aal1"}), 401, "acr_insufficient", "insufficient_user_authentication",
			`Bearer error="insufficient_user_authentication", max_age=300, acr_values="aal2"`, "people", "transfer", "deny"},
		{"no keys", "GET /orders", s.issuer.Token(now, extauthztest.Claims{"iss": "http://127.0.0.1:1"}), 503, "keys_unavailable", "unavailable", "", "", "", "error"},
	} {
		t.Run(c.what, func(t *testing.T) {
			var headers []string
			if c.token != "" {
				headers = append(headers, "Authorization: Bearer "+c.token)
			}
			r := e.send(t, c.first+" HTTP/1.1", headers...)
			r.wants(t, c.what, c.status, c.reason)
			if r.line.Decision != c.decision || r.line.Enforced == nil || !*r.line.Enforced || r.line.DecisionID == "" || r.line.Status != c.status ||
				r.line.Class == nil || *r.line.Class != c.class || r.line.Route == nil || *r.line.Route != c.route {
				t.Errorf("metadata: %+v", r.line)
			}
			if c.status == 200 {
				return
			}
			if got := r.header.Get("WWW-Authenticate"); got != c.challenge {
				t.Errorf("challenge %q, want %q", got, c.challenge)
			}
			if got := r.header.Get("Cache-Control"); got != "no-store" {
				t.Errorf("cache-control %q", got)
			}
			if got := r.header.Get("Content-Type"); got != "application/json" {
				t.Errorf("content-type %q", got)
			}
			if got := r.header.Get("Retry-After"); (got != "") != (c.status == 503) {
				t.Errorf("retry-after %q", got)
			}
			var body map[string]string
			if err := json.Unmarshal([]byte(r.body), &body); err != nil {
				t.Fatalf("body %q: %v", r.body, err)
			}
			if diff := cmp.Diff(map[string]string{"error": c.code, "decision_id": r.line.DecisionID}, body); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			all := fmt.Sprint(r.header, r.body) // RS04
			if strings.Contains(all, c.reason) && c.reason != c.code || strings.Contains(all, "es256-1") {
				t.Errorf("the answer tells the reason or the key: %s", all)
			}
		})
	}
}

// TestGRPC: a refused gRPC call gets a gRPC status, not a page (RS08).
func TestGRPC(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, hardened)
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}
	defer client.CloseIdleConnections()
	for what, c := range map[string]struct{ token, path, status string }{
		"no token": {"", "/shop.Orders/List", "16"},
		"forged":   {extauthztest.Forge(s.issuer.Token(time.Now())), "/shop.Orders/List", "16"},
		"scope":    {s.issuer.Token(time.Now()), "/admin/List", "7"},
		"no keys":  {s.issuer.Token(time.Now(), extauthztest.Claims{"iss": "http://127.0.0.1:1"}), "/shop.Orders/List", "14"},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+e.Listener+c.path, strings.NewReader("\x00\x00\x00\x00\x00"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/grpc")
		req.Header.Set("Te", "trailers")
		if c.token != "" {
			req.Header.Set("Authorization", "Bearer "+c.token)
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusOK || res.Header.Get("Grpc-Status") != c.status {
			t.Errorf("%s: HTTP %d, grpc-status %q, want %s (%v)", what, res.StatusCode, res.Header.Get("Grpc-Status"), c.status, res.Header)
		}
	}
}

// TestNamedRoute: the route that Envoy names goes before what the path says,
// and a name that Holdfast does not know lets nobody in (PP15).
func TestNamedRoute(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, hardened,
		envoy.Route{Prefix: "/public/vault", Route: "named"}, envoy.Route{Prefix: "/typo", Route: "nmaed"})
	token := s.issuer.Token(time.Now())
	e.get(t, "/public/vault/x", "").wants(t, "named, no token", http.StatusUnauthorized, "credential_missing")
	e.get(t, "/public/vault/x", token).wants(t, "named, no scope", http.StatusForbidden, "scope_insufficient")
	scoped := s.issuer.Token(time.Now(), extauthztest.Claims{"scope": "named"})
	e.get(t, "/public/vault/x", scoped).wants(t, "named, scope", http.StatusOK, "ok")
	e.get(t, "/typo", scoped).wants(t, "unknown name", http.StatusServiceUnavailable, "route_unknown")
	e.get(t, "/admin", scoped, "holdfast-route: public").wants(t, "a header is no name", http.StatusForbidden, "scope_insufficient")
}

var decisionID = regexp.MustCompile(`^[0-9A-Za-z_-]{8,64}$`)

// TestDecisionIDs: each answer has one of its own.
func TestDecisionIDs(t *testing.T) {
	s := newSite(t)
	e := s.startEnvoy(t, hardened)
	ids := map[string]bool{}
	for range 50 {
		id := e.get(t, "/orders", "").line.DecisionID
		if ids[id] || !decisionID.MatchString(id) {
			t.Fatalf("decision_id %q: not an id, or given twice", id)
		}
		ids[id] = true
	}
}
