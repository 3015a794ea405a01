package main

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// credentialsConfig takes every kind of credential. %i is the introspection
// endpoint.
const credentialsConfig = `version: 1
listen: {check: {address: "127.0.0.1:0"}, admin: {address: "127.0.0.1:0"}}
issuers:
  - {issuer: "https://idp.example", audiences: ["https://api.example"], jwks_file: "%s/jwks.json"}
  - issuer: https://opaque.example
    audiences: ["https://api.example"]
    introspection: {url: "%i", client_id: holdfast, client_secret_file: "%s/secret", timeout: 2s, max_ttl: 1s}
  - {trust_domain: cluster.local, audiences: ["https://api.example"], jwks_file: "%s/bundle.json"}
credentials:
  - header: authorization
  - cookie: __Host-session
  - {header: x-api-key, kind: api_key}
  - certificate: spiffe
api_keys: {file: "%s/keys.yaml"}
classes:
  - {name: scoped, match: {credential: api_key, clients: scoped}, scopes: [read]}
  - {name: machines, match: {credential: api_key}, max_age: 2400h}
  - {name: workloads, match: {credential: certificate, issuers: cluster.local}, binding: [spiffe]}
  - {name: svids, match: {issuers: cluster.local}, binding: [spiffe]}
  - {name: browsers, match: {credential: cookie}, login_url: "https://login.example/?to={url}"}
  - {name: apps, max_lifetime: 1h}
feed: {embedded: {directory: "%s/data"}}
decision_log: {destination: stderr}
`

// oracle is the introspection endpoint of https://opaque.example.
type oracle struct {
	*httptest.Server
	mu     sync.Mutex
	active map[string]bool
	down   bool
	asked  int
}

func newOracle(t *testing.T) *oracle {
	o := &oracle{active: map[string]bool{}}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.asked++
		id, secret, _ := r.BasicAuth()
		if o.down || id != "holdfast" || secret != "s3cret" {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.Header().Set("content-type", "application/json")
		if !o.active[r.PostFormValue("token")] {
			fmt.Fprint(w, `{"active":false}`)
			return
		}
		fmt.Fprintf(w, `{"active":true,"sub":"alice","client_id":"web","aud":"https://api.example","iat":%d,"exp":%d,"token_type":"Bearer"}`,
			time.Now().Unix(), time.Now().Add(10*time.Minute).Unix())
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *oracle) set(change func(*oracle)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	change(o)
}

func startCredentials(t *testing.T) (c *child, issuer, spire *extauthztest.Issuer, o *oracle, dir string) {
	t.Helper()
	issuer, spire, o = extauthztest.NewIssuer(t, idp), extauthztest.NewIssuer(t, "cluster.local"), newOracle(t)
	path := writeConfig(t, issuer, strings.ReplaceAll(credentialsConfig, "%i", o.URL+"/introspect"))
	dir = filepath.Dir(path)
	key := func(id, client, more string) string {
		sum := sha256.Sum256([]byte("k-" + id))
		return "- {id: k" + id + ", sha256: " + hex.EncodeToString(sum[:]) + ", client: " + client + ", " + more +
			"created: " + time.Now().Add(-time.Hour).UTC().Format(time.RFC3339) + "}\n"
	}
	for name, text := range map[string]string{
		"secret":      "s3cret\n",
		"bundle.json": strings.ReplaceAll(string(spire.JWKS()), `"use":"sig"`, `"use":"jwt-svid"`),
		"keys.yaml": key("1", "reports", "") + key("4", "scoped", "scopes: [read, write], ") + key("5", "scoped", "scopes: [write], ") +
			key("6", "reports", "expires: "+time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)+", "),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return startReady(t, path), issuer, spire, o, dir
}

// TestCredentials: every kind of credential through the real server, accepted,
// told apart, and withdrawn.
func TestCredentials(t *testing.T) {
	c, issuer, spire, o, dir := startCredentials(t)
	cert, other := extauthztest.NewCertificate(t, "batch"), extauthztest.NewCertificate(t, "other")
	o.set(func(o *oracle) { o.active["opaque-1"] = true })
	tok := issuer.Token(time.Now())
	jwtSVID := spire.Token(time.Now(), extauthztest.Header{"typ": "JWT"}, extauthztest.Claims{
		"iss": extauthztest.Absent, "jti": extauthztest.Absent, "sid": extauthztest.Absent, "client_id": extauthztest.Absent,
		"sub": "spiffe://cluster.local/ns/prod/sa/batch", "aud": []string{"https://api.example"},
	})
	request := func(cert *extauthztest.Certificate, headers ...string) extauthztest.Request {
		r := extauthztest.Request{Path: "/x"}
		for i := 0; i < len(headers); i += 2 {
			r.Headers = append(r.Headers, [2]string{headers[i], headers[i+1]})
		}
		if cert != nil {
			r.Cert = cert.Cert
		}
		return r
	}
	want := func(what string, r extauthztest.Request, reason, class, subject string) {
		t.Helper()
		a := c.askFor(r)
		if got, _ := a.Metadata["class"].(string); a.Reason() != reason || got != class || a.Header("x-holdfast-subject") != subject {
			t.Errorf("%s: %v, class %q, subject %q; want %s, %q, %q", what, a, got, a.Header("x-holdfast-subject"), reason, class, subject)
		}
	}
	const workload = "spiffe://cluster.local/ns/prod/sa/batch"
	want("a token", request(nil, "authorization", "Bearer "+tok), "ok", "apps", extauthztest.Subject)
	want("a token in a cookie", request(nil, "cookie", "__Host-session="+tok), "ok", "browsers", extauthztest.Subject)
	want("an API key", request(nil, "x-api-key", "k-1"), "ok", "machines", "reports")
	want("another API key", request(nil, "x-api-key", "k-2"), "key_unknown", "", "")
	want("an API key with the scope", request(nil, "x-api-key", "k-4"), "ok", "scoped", "scoped")
	want("an API key without the scope", request(nil, "x-api-key", "k-5"), "scope_insufficient", "scoped", "")
	want("an expired API key", request(nil, "x-api-key", "k-6"), "token_expired", "", "")
	want("a certificate", request(cert), "ok", "workloads", workload)
	want("a JWT-SVID with its workload", request(cert, "authorization", "Bearer "+jwtSVID), "ok", "svids", workload)
	want("a JWT-SVID without a certificate", request(nil, "authorization", "Bearer "+jwtSVID), "binding_missing", "svids", "")
	want("a JWT-SVID of another workload", request(other, "authorization", "Bearer "+jwtSVID), "binding_mismatch", "svids", "")
	want("an opaque token", request(nil, "authorization", "Bearer opaque-1"), "ok", "apps", "alice")
	want("an unknown opaque token", request(nil, "authorization", "Bearer opaque-2"), "token_revoked", "", "")
	want("two credentials", request(cert, "x-api-key", "k-1", "authorization", "Bearer "+tok), "credential_ambiguous", "", "")
	want("nothing", request(nil), "credential_missing", "", "")
	if a := c.askFor(request(nil, "accept", "text/html")); a.Status != 302 || a.Header("location") != "https://login.example/?to=https%3A%2F%2Fapi.example%2Fx" {
		t.Errorf("a browser without a session: %v, location %q", a, a.Header("location"))
	}

	// Withdrawn here, each by a name of its own.
	revoke := func(body string) {
		t.Helper()
		if status, answer := c.http("POST", "/v1/revocations", body); status != 201 {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
	hash := func(raw string) string {
		sum := sha256.Sum256([]byte(raw))
		return base64.RawURLEncoding.EncodeToString(sum[:])
	}
	revoke(`{"kind":"client","value":"scoped","issuer":"api_keys"}`)
	if status, answer := c.http("POST", "/v1/revocations", `{"kind":"token","value":"k1","issuer":"api_keys"}`); status != 201 || !strings.Contains(answer, `"expires":"21`) {
		t.Errorf("a key without an end is revoked until %d %s", status, answer)
	}
	revoke(`{"kind":"subject","value":"` + workload + `","issuer":"cluster.local"}`)
	revoke(`{"kind":"token_hash","value":"` + hash("opaque-1") + `"}`)
	want("a revoked API key", request(nil, "x-api-key", "k-1"), "token_revoked", "machines", "")
	want("a revoked client's API key", request(nil, "x-api-key", "k-4"), "client_revoked", "scoped", "")
	want("a revoked workload's certificate", request(cert), "subject_revoked", "workloads", "")
	want("a revoked workload's token", request(cert, "authorization", "Bearer "+jwtSVID), "subject_revoked", "svids", "")
	want("another workload's certificate", request(other), "ok", "workloads", "spiffe://cluster.local/ns/prod/sa/other")
	want("a revoked opaque token", request(nil, "authorization", "Bearer opaque-1"), "token_revoked", "apps", "")

	// A new file is in force without a restart; a bad one changes nothing.
	sum := sha256.Sum256([]byte("k-3"))
	file := filepath.Join(dir, "keys.yaml")
	if err := os.WriteFile(file, []byte("- {id: three, sha256: "+hex.EncodeToString(sum[:])+", client: billing}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the new file of API keys", func() bool {
		return c.askFor(request(nil, "x-api-key", "k-3")).Reason() == "token_too_old" // of no known date
	})
	want("a key that was taken out", request(nil, "x-api-key", "k-1"), "key_unknown", "", "")
	if err := os.WriteFile(file, []byte("- {id: three"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "the bad file in readyz", func() bool {
		status, body := c.http("GET", "/readyz?verbose", "")
		return status == 200 && strings.Contains(body, "api_keys")
	})
	want("a key of the last good file", request(nil, "x-api-key", "k-3"), "token_too_old", "machines", "")
}

// TestIntrospectionFails: an issuer that can not be asked lets nobody in, says
// 503, and logs nobody out.
func TestIntrospectionFails(t *testing.T) {
	c, _, _, o, _ := startCredentials(t)
	ask := func(token string) *extauthztest.Answer {
		return c.askFor(extauthztest.Request{Path: "/x", Headers: [][2]string{{"authorization", "Bearer " + token}}})
	}
	o.set(func(o *oracle) { o.active["a"], o.down = true, true })
	if a := ask("a"); a.Reason() != "keys_unavailable" || a.Status != 503 {
		t.Errorf("the issuer is down: %v", a)
	}
	if status, body := c.http("GET", "/readyz?verbose", ""); status != 200 || !strings.Contains(body, "introspection") {
		t.Errorf("readyz: %d\n%s", status, body)
	}
	o.set(func(o *oracle) { o.down = false })
	if a := ask("a"); a.Reason() != "ok" {
		t.Errorf("it is back: %v", a)
	}
	// Many at once are one question; and an answer serves for max_ttl, no longer.
	o.set(func(o *oracle) { o.active["b"], o.asked = true, 0 })
	var w sync.WaitGroup
	for range 50 {
		w.Go(func() {
			if a := ask("b"); a.Reason() != "ok" {
				t.Errorf("many at once: %v", a)
			}
		})
	}
	w.Wait()
	o.set(func(o *oracle) {
		if o.asked > 10 { // not 50; more than one only where an answer's second has passed
			t.Errorf("50 checks asked %d times", o.asked)
		}
		o.active["b"] = false
	})
	until(t, "the issuer's withdrawal", func() bool { return ask("b").Reason() == "token_revoked" })
	if log := c.log.String(); strings.Contains(log, "s3cret") || strings.Contains(log, "Bearer a") {
		t.Error("a secret in the log")
	}
	_, metrics := c.http("GET", "/metrics", "")
	if !strings.Contains(metrics, `verifications_total{alg="introspection",issuer="https://opaque.example",result="ok"}`) {
		t.Error("introspections are not counted")
	}
}

// TestNoncesOverReplicas: a nonce of one process is good at the next one with
// the same feed key, and strange to one with another.
func TestNoncesOverReplicas(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	config := writeConfig(t, issuer, basicConfig+"dpop: {nonce: required}\n")
	alice := extauthztest.NewProver(t, "ES256")
	tok := issuer.Token(time.Now(), extauthztest.DPoPBound(alice.JKT))
	ask := func(c *child, nonce string) *extauthztest.Answer {
		proof := alice.Proof("GET", "https://api.example/x", tok, time.Now(), extauthztest.Claims{"nonce": nonce})
		return c.askFor(extauthztest.Request{Path: "/x", Headers: [][2]string{{"authorization", "DPoP " + tok}, {"dpop", proof}}})
	}
	c := startReady(t, config)
	nonce := ask(c, "x").Header("dpop-nonce")
	c.kill()
	c = startReady(t, config)
	if a := ask(c, nonce); a.Reason() != "ok" {
		t.Errorf("after a restart: %v", a)
	}
	c.kill()
	if err := os.RemoveAll(filepath.Join(filepath.Dir(config), "data")); err != nil {
		t.Fatal(err)
	}
	if a := ask(startReady(t, config), nonce); a.Reason() != "dpop_nonce_required" || a.Header("dpop-nonce") == "" {
		t.Errorf("another feed: %v", a)
	}
}

// TestAdvice: what is valid and could be safer is said, and stays valid.
func TestAdvice(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	path := writeConfig(t, issuer, basicConfig+"credentials: [{cookie: session}, {cookie: __Host-other}]\n")
	got := childThatFails(t, "config", "validate", path)
	if got.code != 0 || !strings.Contains(got.output, ": ok (") || strings.Count(got.output, "advice: ") != 1 ||
		!strings.Contains(got.output, path+":7:24: advice: any host of the site") || !strings.Contains(got.output, "__Host-session") {
		t.Errorf("exit %d, said:\n%s", got.code, got.output)
	}
}

// TestStatusList: a token that its issuer's list withdraws is denied, and one
// whose list nobody has is not judged.
func TestStatusList(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	var lists *httptest.Server
	var data atomic.Uint32
	lists = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/statuslist+jwt")
		var b bytes.Buffer
		z := zlib.NewWriter(&b)
		_, _ = z.Write([]byte{byte(data.Load())})
		_ = z.Close()
		fmt.Fprint(w, issuer.Token(time.Now(), extauthztest.Header{"typ": "statuslist+jwt"}, extauthztest.Claims{
			"sub": lists.URL + r.URL.Path, "ttl": 1,
			"status_list": map[string]any{"bits": 1, "lst": base64.RawURLEncoding.EncodeToString(b.Bytes())},
		}))
	}))
	t.Cleanup(lists.Close)
	data.Store(0b10)
	c := startReady(t, writeConfig(t, issuer, strings.Replace(basicConfig, `jwks_file: "%s/jwks.json"`,
		`jwks_file: "%s/jwks.json", status_lists: {uris: ["`+lists.URL+`/lists/"]}`, 1)))
	at := func(uri string, index int) string {
		return issuer.Token(time.Now(), extauthztest.Claims{"status": map[string]any{"status_list": map[string]any{"idx": index, "uri": uri}}})
	}
	good := at(lists.URL+"/lists/1", 0)
	if a := c.ask(good); a.Reason() != "status_unavailable" || a.Status != 503 {
		t.Errorf("at first: %v", a)
	}
	until(t, "the list", func() bool { return c.ask(good).Reason() == "ok" })
	c.wantReason(at(lists.URL+"/lists/1", 1), "status_invalid")
	c.wantReason(at(lists.URL+"/lists/1", 8), "status_invalid")
	c.wantReason(at(lists.URL+"/other/1", 0), "status_unavailable")
	c.wantReason(at("https://evil.example/lists/1", 0), "status_unavailable")
	c.wantReason(issuer.Token(time.Now()), "ok")
	c.revoke("session", extauthztest.Session)
	c.wantReason(at(lists.URL+"/lists/1", 1), "session_revoked") // revocation comes first
}

// TestXFCC: mtls.source xfcc takes the last element of the header, and not the
// certificate of the connection, which is the proxy's neighbour.
func TestXFCC(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startReady(t, writeConfig(t, issuer, basicConfig+"mtls: {source: xfcc}\n"))
	cert, other := extauthztest.NewCertificate(t, "alice"), extauthztest.NewCertificate(t, "mallory")
	tok := issuer.Token(time.Now(), extauthztest.CertificateBound(cert.X5T))
	element := func(c *extauthztest.Certificate) string {
		sum := sha256.Sum256(c.Cert.Raw)
		return "Hash=" + hex.EncodeToString(sum[:])
	}
	for xfcc, want := range map[string]string{
		element(other) + "," + element(cert): "ok",
		element(cert) + "," + element(other): "binding_mismatch",
		"":                                   "binding_missing",
	} {
		r := extauthztest.Request{Path: "/x", Cert: cert.Cert, Headers: [][2]string{{"authorization", "Bearer " + tok}, {"x-forwarded-client-cert", xfcc}}}
		if xfcc == "" {
			r.Headers = r.Headers[:1]
		}
		if a := c.askFor(r); a.Reason() != want {
			t.Errorf("%q: %v, want %s", xfcc, a, want)
		}
	}
}

// TestStrictestPaths: an ambiguous path has to meet what each of its routes
// asks for.
func TestStrictestPaths(t *testing.T) {
	issuer := extauthztest.NewIssuer(t, idp)
	c := startReady(t, writeConfig(t, issuer, basicConfig+`ambiguous_paths: strictest
routes:
  - {name: pay, match: [{paths: [/pay/*]}], require: {scopes: [pay]}}
`))
	ask := func(scope string) string {
		tok := issuer.Token(time.Now(), extauthztest.Claims{"scope": scope})
		return c.askFor(extauthztest.Request{Path: "/x//y", Headers: [][2]string{{"authorization", "Bearer " + tok}}}).Reason()
	}
	if got := ask("read"); got != "scope_insufficient" {
		t.Errorf("without the scope: %s", got)
	}
	if got := ask("pay"); got != "ok" {
		t.Errorf("with it: %s", got)
	}
}
