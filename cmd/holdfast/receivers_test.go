package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

const receiversConfig = basicConfig + `receivers:
  - ssf_push: {issuer: "https://idp.example", audience: "https://edge.example", path: /events/set, bearer_token_file: "%s/set.token"}
  - backchannel_logout: {issuer: "https://idp.example", audience: client-1, path: /events/logout}
  - global_token_revocation: {issuer: "https://idp.example", audience: "https://edge.example", path: /events/revoke}
`

const caep = "https://schemas.openid.net/secevent/caep/event-type/"

// startReceivers runs a server with a listener for events.
func startReceivers(t *testing.T, issuer *extauthztest.Issuer, more string) (c *child, config string) {
	t.Helper()
	text := strings.Replace(receiversConfig+more, `listen: {`, `listen: {events: {address: "127.0.0.1:0"}, `, 1)
	config = writeConfig(t, issuer, text)
	if err := os.WriteFile(filepath.Join(filepath.Dir(config), "set.token"), []byte("push-secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return startReady(t, config), config
}

// event is a signed token of the issuer's that is no access token.
func event(issuer *extauthztest.Issuer, typ, aud string, more extauthztest.Claims) string {
	claims := extauthztest.Claims{
		"aud": aud, "sub": extauthztest.Absent, "sid": extauthztest.Absent, "exp": extauthztest.Absent, "client_id": extauthztest.Absent,
		"auth_time": extauthztest.Absent, "acr": extauthztest.Absent, "scope": extauthztest.Absent,
	}
	return issuer.Token(time.Now(), extauthztest.Header{"typ": typ}, claims, more)
}

func setOf(issuer *extauthztest.Issuer, kind string, subject, event map[string]any) string {
	return eventSet(issuer, extauthztest.Claims{"sub_id": subject, "events": map[string]any{kind: event}})
}

func eventSet(issuer *extauthztest.Issuer, more extauthztest.Claims) string {
	return event(issuer, "secevent+jwt", "https://edge.example", more)
}

// post sends a body to the events listener.
func (c *child) post(path, kind, body string, headers ...string) (int, string) {
	c.t.Helper()
	req, err := http.NewRequest(http.MethodPost, "http://"+c.address("events")+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

func (c *child) push(set string) (int, string) {
	return c.post("/events/set", "application/secevent+jwt", set, "Authorization", "Bearer push-secret")
}

func (c *child) logout(token string) (int, string) {
	return c.post("/events/logout", "application/x-www-form-urlencoded", url.Values{"logout_token": {token}}.Encode())
}

func logoutToken(issuer *extauthztest.Issuer, more extauthztest.Claims) string {
	claims := extauthztest.Claims{
		"exp": time.Now().Add(2 * time.Minute).Unix(), "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}},
	}
	for name, v := range more {
		claims[name] = v
	}
	return event(issuer, "logout+jwt", "client-1", claims)
}

// TestReceivers: a logout, a CAEP event and a global revocation end sessions,
// which stay ended after kill -9 right behind the answer; and nothing that is
// not right does.
func TestReceivers(t *testing.T) {
	issuer, stranger := extauthztest.NewIssuer(t, idp), extauthztest.NewIssuer(t, idp)
	c, config := startReceivers(t, issuer, "")
	at := func(sub, sid string) string {
		return issuer.Token(time.Now().Add(-time.Minute), extauthztest.Claims{"sub": sub, "sid": sid})
	}
	alice, bob, carol, dave := at("alice", "s-alice"), at("bob", "s-bob"), at("carol", "s-carol"), at("dave", "s-dave")
	user := func(sub string) map[string]any {
		return map[string]any{"format": "iss_sub", "iss": idp, "sub": sub}
	}
	for name, send := range map[string]func() (int, string){
		"a logout by another key":   func() (int, string) { return c.logout(logoutToken(stranger, extauthztest.Claims{"sid": "s-alice"})) },
		"an access token as logout": func() (int, string) { return c.logout(alice) },
		"a SET as logout": func() (int, string) {
			return c.logout(setOf(issuer, caep+"session-revoked", user("alice"), map[string]any{}))
		},
		"a logout as SET": func() (int, string) { return c.push(logoutToken(issuer, extauthztest.Claims{"sid": "s-alice"})) },
		"a SET by another key": func() (int, string) {
			return c.push(setOf(stranger, caep+"session-revoked", user("alice"), map[string]any{}))
		},
		"a SET without the secret": func() (int, string) {
			return c.post("/events/set", "application/secevent+jwt", setOf(issuer, caep+"session-revoked", user("alice"), map[string]any{}))
		},
		"a SET about another issuer's user": func() (int, string) {
			return c.push(setOf(issuer, caep+"session-revoked", map[string]any{"format": "iss_sub", "iss": "https://other.example", "sub": "alice"}, map[string]any{}))
		},
	} {
		if status, body := send(); status/100 != 4 {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	for _, tok := range []string{alice, bob, carol, dave} {
		c.wantReason(tok, "ok")
	}

	gone := logoutToken(issuer, extauthztest.Claims{"sid": "s-alice", "sub": "alice"})
	if status, body := c.logout(gone); status != 200 {
		t.Fatalf("logout: %d %s", status, body)
	}
	c.kill() // right behind the answer
	c = startReady(t, config)
	c.wantReason(alice, "session_revoked")
	if status, body := c.logout(gone); status != 200 {
		t.Errorf("the same logout again: %d %s", status, body)
	}
	if status, body := c.push(setOf(issuer, caep+"session-revoked", user("bob"), map[string]any{"event_timestamp": time.Now().Unix()})); status != 202 || body != "" {
		t.Fatalf("session-revoked: %d %s", status, body)
	}
	c.kill()
	c = startReady(t, config)
	c.wantReason(bob, "subject_revoked")
	c.wantReason(issuer.Token(time.Now().Add(2*time.Second), extauthztest.Claims{"sub": "bob", "sid": "s-new"}), "ok") // a new login

	bearer := event(issuer, "global-token-revocation+jwt", "https://edge.example", extauthztest.Claims{"exp": time.Now().Add(time.Minute).Unix()})
	status, body := c.post("/events/revoke", "application/json", fmt.Sprintf(`{"sub_id":{"format":"iss_sub","iss":%q,"sub":"carol"}}`, idp), "Authorization", "Bearer "+bearer)
	if status != 204 {
		t.Errorf("global revocation: %d %s", status, body)
	}
	c.wantReason(carol, "subject_revoked")

	// Disabled until enabled: a new login does not help meanwhile.
	risc := "https://schemas.openid.net/secevent/risc/event-type/"
	if status, body := c.push(setOf(issuer, risc+"account-disabled", user("dave"), map[string]any{"reason": "hijacking"})); status != 202 {
		t.Fatalf("account-disabled: %d %s", status, body)
	}
	fresh := issuer.Token(time.Now().Add(2*time.Second), extauthztest.Claims{"sub": "dave", "sid": "s-fresh"})
	c.wantReason(dave, "subject_revoked")
	c.wantReason(fresh, "subject_revoked")
	if status, body := c.push(setOf(issuer, risc+"account-enabled", user("dave"), map[string]any{})); status != 202 {
		t.Fatalf("account-enabled: %d %s", status, body)
	}
	c.wantReason(fresh, "ok")
	if status, _ := c.post("/nowhere", "application/json", "{}"); status != 404 {
		t.Errorf("another path: %d", status)
	}
	_, metrics := c.http("GET", "/metrics", "")
	if !strings.Contains(metrics, `revocation_events_total{result="stored",source="set",type="subject"}`) {
		t.Error("events are not counted")
	}
}

// TestPolledEvents: a transmitter that is polled (RFC 8936) ends a session, and
// is told so only when that is stored.
func TestPolledEvents(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	tok := issuer.Token(time.Now().Add(-time.Minute))
	set := eventSet(issuer, extauthztest.Claims{
		"jti": "set-1", "sub_id": map[string]any{"format": "iss_sub", "iss": idp, "sub": extauthztest.Subject},
		"events": map[string]any{caep + "session-revoked": map[string]any{}},
	})
	var mu sync.Mutex
	acked, secret := false, ""
	transmitter := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		acked = acked || strings.Contains(string(body), `"ack":["set-1"]`)
		secret = r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/json")
		if acked {
			fmt.Fprint(w, `{"sets":{}}`)
			return
		}
		fmt.Fprintf(w, `{"sets":{"set-1":%q}}`, set)
	}))
	t.Cleanup(transmitter.Close)
	c, _ := startReceivers(t, issuer, fmt.Sprintf("  - ssf_poll: {issuer: %q, audience: %q, url: %q, bearer_token_file: %q, interval: 1s}\n",
		idp, "https://edge.example", transmitter.URL, "%s/set.token"))
	until(t, "the polled event", func() bool { return c.ask(tok).Reason() == "subject_revoked" })
	until(t, "its acknowledgement", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return acked
	})
	if secret != "Bearer push-secret" {
		t.Errorf("polled with %q", secret)
	}
}
