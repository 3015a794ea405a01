package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// tried are the configurations of examples; TestExamples sees that there is
// no other, and each has its test below.
var tried = []string{"browser.yaml", "mobile.yaml", "payments.yaml", "workload.yaml"}

// anyPort is all that is changed of an example before it is served: the ports
// are the kernel's choice. What else it names lies in the folder that the
// program is started in.
var anyPort = strings.NewReplacer(`"127.0.0.1:9191"`, `"127.0.0.1:0"`, `"127.0.0.1:9292"`, `"127.0.0.1:0"`)

// exampleFolder makes a folder with the files that an example names, and goes there.
func exampleFolder(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
}

// startExample holds an example as it is to be valid and beyond advice, and
// serves it.
func startExample(t *testing.T, name string, files map[string]string) *child {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "..", "examples", name))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	exampleFolder(t, files)
	code, stdout, stderr := holdfast(t, "config", "validate", path)
	if code != 0 || !strings.HasPrefix(stdout, path+": ok (") || strings.Count(stdout, "\n") != 1 || stderr != "" {
		t.Errorf("validate: exit %d\n%s%s", code, stdout, stderr)
	}
	served := anyPort.Replace(string(text))
	if strings.Count(served, `"127.0.0.1:0"`) != 2 {
		t.Fatalf("%s does not listen on the two usual ports", name)
	}
	if err := os.WriteFile(name, []byte(served), 0o600); err != nil {
		t.Fatal(err)
	}
	return startReady(t, name)
}

// TestExamples: no configuration lies in examples that is not tried here.
func TestExamples(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join("..", "..", "examples", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for i := range paths {
		paths[i] = filepath.Base(paths[i])
	}
	if diff := cmp.Diff(tried, paths); diff != "" {
		t.Errorf("-tried +there:\n%s", diff)
	}
}

// trial is a request and what is to come of it.
type trial struct {
	what                 string
	r                    extauthztest.Request
	reason, class, route string
}

func (c *child) try(trials ...trial) {
	c.t.Helper()
	for _, try := range trials {
		a := c.askFor(try.r)
		class, _ := a.Metadata["class"].(string)
		route, _ := a.Metadata["route"].(string)
		if a.Reason() != try.reason || class != try.class || route != try.route {
			c.t.Errorf("%s: %v, class %q, route %q; want %s, %q, %q", try.what, a, class, route, try.reason, try.class, try.route)
		}
	}
}

// stale brings the server up again without the revocations that it had
// acknowledged, and holds each request to what Envoy makes of that: a denial
// or an error. None is let through.
func (c *child) stale(want map[string][]func() extauthztest.Request) {
	c.t.Helper()
	c.terminate()
	if err := os.RemoveAll(filepath.Join("data", "jetstream")); err != nil {
		c.t.Fatal(err)
	}
	c = startChild(c.t, c.config)
	for verdict, requests := range want {
		for _, r := range requests {
			until(c.t, "feed_stale", func() bool {
				a := c.askFor(r())
				if a.Verdict == extauthztest.VerdictOK {
					c.t.Fatalf("let through without the revocations: %v", a)
				}
				if a.Reason() == "feed_stale" && (a.Verdict != verdict || a.Status != http.StatusServiceUnavailable) {
					c.t.Fatalf("stale: %v, want %s", a, verdict)
				}
				return a.Reason() == "feed_stale"
			})
		}
	}
}

// request is a request with the headers' names and values in turn.
func request(method, path string, headers ...string) extauthztest.Request {
	r := extauthztest.Request{Method: method, Path: path}
	for i := 0; i < len(headers); i += 2 {
		r.Headers = append(r.Headers, [2]string{headers[i], headers[i+1]})
	}
	return r
}

// by is the request over a connection with this client certificate.
func by(cert *extauthztest.Certificate, r extauthztest.Request) extauthztest.Request {
	r.Cert = cert.Cert
	return r
}

// before is a NumericDate of the past, or where d is below 0 of the future.
func before(d time.Duration) int64 { return time.Now().Add(-d).Unix() }

// claims saves a line its package's name.
type claims = extauthztest.Claims

func TestBrowserExample(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startExample(t, "browser.yaml", map[string]string{"jwks.json": string(issuer.JWKS())})
	visit := func(path string, parts ...extauthztest.Part) extauthztest.Request {
		return request("GET", path, "cookie", "theme=dark; __Host-session="+issuer.Token(time.Now(), parts...))
	}
	page := func(r extauthztest.Request) extauthztest.Request { // somebody walks there
		r.Headers = append(r.Headers, [2]string{"accept", "text/html"}, [2]string{"sec-fetch-mode", "navigate"})
		return r
	}
	earlier := claims{"auth_time": before(20 * time.Minute)}
	c.try(
		trial{"a page", visit("/orders"), "ok", "browser", ""},
		trial{"the account after a login just now", visit("/account"), "ok", "browser", "account"},
		trial{"the account after a login earlier", visit("/account/password", earlier), "auth_too_old", "browser", "account"},
		trial{"a page after that login", visit("/orders", earlier), "ok", "browser", ""},
		trial{"the account without a second factor", visit("/account/password", claims{"acr": "aal1"}), "acr_insufficient", "browser", "account"},
		trial{"the account, so that only one of two sees it", visit("/x/%2e%2e/account"), "path_ambiguous", "", ""},
		trial{"a cookie of 20 minutes ago", visit("/orders", claims{"iat": before(20 * time.Minute), "exp": before(-20 * time.Minute)}), "token_too_old", "browser", ""},
		trial{"a login of yesterday, renewed", visit("/orders", claims{"auth_time": before(13 * time.Hour)}), "session_expired", "browser", ""},
		trial{"a cookie that lives for a day", visit("/orders", claims{"exp": before(-24 * time.Hour)}), "lifetime_too_long", "browser", ""},
		trial{"a cookie for another service", visit("/orders", claims{"aud": "https://other.example"}), "audience_mismatch", "", ""},
		trial{"more than a browser keeps", visit("/orders", claims{"groups": strings.Repeat("x", 3500)}), "token_too_large", "", ""},
		trial{"nothing", request("GET", "/orders"), "credential_missing", "", ""},
		trial{"a script's token", request("GET", "/orders", "authorization", "Bearer "+issuer.Token(time.Now())), "credential_missing", "", ""},
		trial{"a preflight", request("OPTIONS", "/orders"), "anonymous", "", "preflight"},
		trial{"a style sheet", request("GET", "/assets/site.css"), "anonymous", "", "assets"},
		trial{"a change of it", request("POST", "/assets/site.css"), "credential_missing", "", ""},
		trial{"the way in", request("GET", "/login/callback?code=1"), "anonymous", "", "login"},
	)

	mine, others := visit("/orders"), visit("/orders", claims{"sid": "others"})
	c.revoke("session", extauthztest.Session)
	c.try(
		trial{"the revoked session", mine, "session_revoked", "browser", ""},
		trial{"the revoked session, renewed", visit("/orders"), "session_revoked", "browser", ""},
		trial{"another session", others, "ok", "browser", ""},
	)
	for what, r := range map[string]extauthztest.Request{"without a session": request("GET", "/orders?page=2"), "revoked": visit("/orders?page=2")} {
		const want = "https://login.example/?return_to=https%3A%2F%2Fapi.example%2Forders%3Fpage%3D2"
		if a := c.askFor(r); a.Status != http.StatusUnauthorized || len(a.Challenges) == 0 {
			t.Errorf("a script %s: %v", what, a)
		}
		if a := c.askFor(page(r)); a.Status != http.StatusFound || a.Header("location") != want {
			t.Errorf("a person %s: %v, location %q", what, a, a.Header("location"))
		}
	}
	of := claims{"sid": "others"}
	c.stale(map[string][]func() extauthztest.Request{
		extauthztest.VerdictError:  {func() extauthztest.Request { return visit("/orders", of) }},
		extauthztest.VerdictDenied: {func() extauthztest.Request { return visit("/account", of) }},
	})
}

func TestMobileExample(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startExample(t, "mobile.yaml", map[string]string{"jwks.json": string(issuer.JWKS())})
	phone, thief := extauthztest.NewProver(t, "ES256"), extauthztest.NewProver(t, "ES256")
	token := func(parts ...extauthztest.Part) string {
		own := claims{"client_id": "ios", "device_id": "phone-1", "scope": "orders:read"}
		return issuer.Token(time.Now(), append([]extauthztest.Part{extauthztest.DPoPBound(phone.JKT), own}, parts...)...)
	}
	var nonce string
	send := func(key *extauthztest.Prover, method, path, token string) extauthztest.Request {
		// Its clock is an hour slow: the nonce's time decides.
		proof := key.Proof(method, "https://api.example"+path, token, time.Now().Add(-time.Hour), claims{"nonce": nonce})
		r := request(method, path, "authorization", "DPoP "+token, "dpop", proof)
		r.Host, r.Scheme = "edge-7.internal:8443", "http" // what is left of the origin behind a CDN
		return r
	}
	app := func(method, path string, parts ...extauthztest.Part) extauthztest.Request {
		return send(phone, method, path, token(parts...))
	}
	first := c.askFor(app("GET", "/v1/orders"))
	if nonce = first.Header("dpop-nonce"); first.Reason() != "dpop_nonce_required" || nonce == "" {
		t.Fatalf("the first call: %v, nonce %q", first, nonce)
	}
	stolen, used := token(), app("GET", "/v1/orders")
	plain := token(claims{"cnf": extauthztest.Absent})
	c.try(
		trial{"before the login", request("GET", "/v1/start"), "anonymous", "", "start"},
		trial{"a call", used, "ok", "app", "look"},
		trial{"the same call again", used, "dpop_replayed", "app", "look"},
		trial{"elsewhere", app("GET", "/v1/profile"), "ok", "app", ""},
		trial{"a stolen token, another's proof", send(thief, "GET", "/v1/orders", stolen), "binding_mismatch", "app", "look"},
		trial{"a stolen token as Bearer", request("GET", "/v1/orders", "authorization", "Bearer "+stolen), "binding_missing", "app", "look"},
		trial{"a stolen token alone", request("GET", "/v1/orders", "authorization", "DPoP "+stolen), "dpop_missing", "app", "look"},
		trial{"a token that no key is for", request("GET", "/v1/orders", "authorization", "Bearer "+plain), "binding_missing", "app", "look"},
		trial{"an order without the scope", app("POST", "/v1/orders"), "scope_insufficient", "app", "order"},
		trial{"by a method that few think of", app("PATCH", "/v1/orders/7"), "scope_insufficient", "app", "order"},
		trial{"an order", app("POST", "/v1/orders", claims{"scope": "orders:read orders:write"}), "ok", "app", "order"},
		trial{"a new phone after a login earlier", app("POST", "/v1/devices", claims{"auth_time": before(time.Hour)}), "auth_too_old", "app", "device"},
		trial{"a new phone without a second factor", app("POST", "/v1/devices", claims{"acr": "aal1"}), "acr_insufficient", "app", "device"},
		trial{"a token within the skew of its end", app("GET", "/v1/profile", claims{"iat": before(310 * time.Second), "exp": before(10 * time.Second)}), "token_too_old", "app", ""},
		trial{"a long token", app("GET", "/v1/profile", claims{"exp": before(-time.Hour)}), "lifetime_too_long", "app", ""},
		trial{"a login of last month", app("GET", "/v1/profile", claims{"auth_time": before(721 * time.Hour)}), "session_expired", "app", ""},
		trial{"another client", app("GET", "/v1/profile", claims{"client_id": "web"}), "class_unknown", "", ""},
		trial{"nothing", request("GET", "/v1/profile"), "credential_missing", "", ""},
	)
	c.revoke("device", "phone-1")
	c.try(
		trial{"the lost phone", app("GET", "/v1/orders"), "device_revoked", "app", "look"},
		trial{"the lost phone, logged in anew", app("GET", "/v1/orders", claims{"sid": "new"}), "device_revoked", "app", "look"},
		trial{"another phone", app("GET", "/v1/orders", claims{"device_id": "phone-2"}), "ok", "app", "look"},
	)
	if a := c.askFor(app("GET", "/v1/orders", claims{"device_id": "phone-2"})); !slices.Contains(a.Removed, "dpop") {
		t.Errorf("the application gets the proof: %v", a)
	}
	c.stale(map[string][]func() extauthztest.Request{
		extauthztest.VerdictError:  {func() extauthztest.Request { return app("GET", "/v1/orders", claims{"device_id": "phone-2"}) }},
		extauthztest.VerdictDenied: {func() extauthztest.Request { return app("POST", "/v1/devices", claims{"device_id": "phone-2"}) }},
	})
}

// apiKey is an entry of a file of API keys.
func apiKey(id, raw, client, scope string, age time.Duration, more string) string {
	sum := sha256.Sum256([]byte(raw))
	return fmt.Sprintf("- {id: %s, sha256: %s, client: %s, scopes: [%s], created: %s%s}\n", id, hex.EncodeToString(sum[:]), client, scope,
		time.Now().Add(-age).UTC().Format(time.RFC3339), more)
}

func TestWorkloadExample(t *testing.T) {
	const batch, reports = "spiffe://cluster.local/ns/prod/sa/batch", "spiffe://cluster.local/ns/prod/sa/reports"
	spire := extauthztest.NewIssuer(t, "cluster.local")
	c := startExample(t, "workload.yaml", map[string]string{
		"bundle.json": strings.ReplaceAll(string(spire.JWKS()), `"use":"sig"`, `"use":"jwt-svid"`),
		"keys.yaml": apiKey("nightly", "key-1", "nightly", "reports:write", time.Hour, "") +
			apiKey("reader", "key-2", "reader", "reports:read", time.Hour, "") +
			apiKey("forgotten", "key-3", "forgotten", "reports:write", 91*24*time.Hour, "") +
			apiKey("trial", "key-4", "trial", "reports:write", 2*time.Hour, ", expires: "+time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)),
	})
	batchCert, reportsCert := extauthztest.NewCertificate(t, "batch"), extauthztest.NewCertificate(t, "reports")
	svid := func(sub string, parts ...extauthztest.Part) string {
		all := append([]extauthztest.Part{extauthztest.Header{"typ": "JWT"}, claims{
			"iss": extauthztest.Absent, "jti": extauthztest.Absent, "sid": extauthztest.Absent, "client_id": extauthztest.Absent,
			"sub": sub, "aud": []string{extauthztest.Audience},
		}}, parts...)
		return "Bearer " + spire.Token(time.Now(), all...)
	}
	tok := svid(batch)
	bare, withToken := request("GET", "/stock"), request("GET", "/stock", "authorization", tok)
	c.try(
		trial{"a probe", request("GET", "/healthz"), "anonymous", "", "probe"},
		trial{"a certificate", by(batchCert, bare), "ok", "workload", ""},
		trial{"a certificate on the admin route", by(batchCert, request("POST", "/admin/flush")), "ok", "workload", "admin"},
		trial{"a token with its certificate", by(batchCert, withToken), "ok", "workload-token", ""},
		trial{"with a new certificate of the same workload", by(extauthztest.NewCertificate(t, "batch"), withToken), "ok", "workload-token", ""},
		trial{"a stolen token", withToken, "binding_missing", "workload-token", ""},
		trial{"a stolen token by another workload", by(reportsCert, withToken), "binding_mismatch", "workload-token", ""},
		trial{"a token for another service", by(batchCert, request("GET", "/stock", "authorization", svid(batch, claims{"aud": []string{"https://other.example"}}))), "audience_mismatch", "", ""},
		trial{"a token for a day", by(batchCert, request("GET", "/stock", "authorization", svid(batch, claims{"exp": before(-24 * time.Hour)}))), "lifetime_too_long", "workload-token", ""},
		trial{"of another trust domain", request("GET", "/stock", "authorization", svid("spiffe://dev.example/batch")), "issuer_unknown", "", ""},
		trial{"an API key", request("GET", "/stock", "x-api-key", "key-1"), "ok", "job", ""},
		trial{"an API key with its scope", request("POST", "/reports/2026", "x-api-key", "key-1"), "ok", "job", "reports"},
		trial{"an API key without", request("POST", "/reports/2026", "x-api-key", "key-2"), "scope_insufficient", "job", "reports"},
		trial{"an API key on the admin route", request("POST", "/admin/flush", "x-api-key", "key-1"), "binding_missing", "job", "admin"},
		trial{"an API key from a workload there", by(batchCert, request("POST", "/admin/flush", "x-api-key", "key-1")), "binding_mismatch", "job", "admin"},
		trial{"an API key of 91 days ago", request("GET", "/stock", "x-api-key", "key-3"), "token_too_old", "job", ""},
		trial{"an API key that has ended", request("GET", "/stock", "x-api-key", "key-4"), "token_expired", "", ""},
		trial{"no API key of ours", request("GET", "/stock", "x-api-key", "key-5"), "key_unknown", "", ""},
		trial{"two credentials", request("GET", "/stock", "x-api-key", "key-1", "authorization", tok), "credential_ambiguous", "", ""},
		trial{"nothing", bare, "credential_missing", "", ""},
	)
	c.revokeOf("subject", batch, "cluster.local")
	c.revokeOf("client", "nightly", "api_keys")
	c.try(
		trial{"the revoked workload", by(batchCert, bare), "subject_revoked", "workload", ""},
		trial{"the revoked workload's token", by(batchCert, withToken), "subject_revoked", "workload-token", ""},
		trial{"another workload", by(reportsCert, request("GET", "/stock", "authorization", svid(reports))), "ok", "workload-token", ""},
		trial{"the revoked job", request("GET", "/stock", "x-api-key", "key-1"), "client_revoked", "job", ""},
		trial{"another job", request("GET", "/stock", "x-api-key", "key-2"), "ok", "job", ""},
	)
	if a := c.askFor(request("GET", "/stock", "x-api-key", "key-2")); !slices.Contains(a.Removed, "x-api-key") {
		t.Errorf("the application gets the key: %v", a)
	}
	c.stale(map[string][]func() extauthztest.Request{extauthztest.VerdictDenied: {
		func() extauthztest.Request { return by(reportsCert, bare) },
		func() extauthztest.Request {
			return by(reportsCert, request("GET", "/stock", "authorization", svid(reports)))
		},
		func() extauthztest.Request { return request("GET", "/stock", "x-api-key", "key-2") },
	}})
}

// revokeOf withdraws what an issuer other than idp has named. More headers
// are for an API that asks who is there.
func (c *child) revokeOf(kind, value, issuer string, headers ...string) {
	c.t.Helper()
	status, body := c.http("POST", "/v1/revocations", fmt.Sprintf(`{"kind":%q,"value":%q,"issuer":%q}`, kind, value, issuer), headers...)
	if status != http.StatusCreated {
		c.t.Fatalf("revoke %s %s: %d %s", kind, value, status, body)
	}
}
