package issuer

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/cache/jwks"
)

const audience = "https://api.example"

// start serves an issuer on loopback under the URL that its tokens name.
func start(t *testing.T) (*Issuer, string) {
	t.Helper()
	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	t.Cleanup(server.Close)
	i, err := New(Config{URL: server.URL, Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	handler = i.Handler()
	return i, server.URL
}

// post sends a form and reads the answer.
func post(t *testing.T, client *http.Client, to, form string) (status int, token Token, raw string) {
	t.Helper()
	res, err := client.Post(to, "application/x-www-form-urlencoded", strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &token); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	return res.StatusCode, token, string(body)
}

// verify checks a token by golang-jwt with the keys that the store fetched
// from the issuer, and returns its claims.
func verify(t *testing.T, store *jwks.Store, issuer string, token Token) jwt.MapClaims {
	t.Helper()
	claims := jwt.MapClaims{}
	parsed, err := jwt.ParseWithClaims(token.Access, claims, func(jws *jwt.Token) (any, error) {
		set, ok := store.KeySet(issuer)
		if !ok {
			return nil, fmt.Errorf("no keys")
		}
		for _, k := range set.Keys() {
			if k.ID == jws.Header["kid"] {
				return k.Public, nil
			}
		}
		return nil, fmt.Errorf("no key %s", jws.Header["kid"])
	}, jwt.WithValidMethods([]string{"ES256"}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	if err != nil {
		t.Fatal(err)
	}
	if parsed.Header["typ"] != "at+jwt" {
		t.Errorf("typ is %v", parsed.Header["typ"])
	}
	// Holdfast's own reader agrees.
	jws, err := jose.Parse(token.Access)
	if err != nil {
		t.Fatal(err)
	}
	set, _ := store.KeySet(issuer)
	if kid, err := set.Verify(jws); err != nil || kid != parsed.Header["kid"] {
		t.Errorf("jose: kid %s, %v", kid, err)
	}
	return claims
}

// keysOf is a store that found the issuer's keys by discovery.
func keysOf(t *testing.T, url string) *jwks.Store {
	t.Helper()
	store, err := jwks.New(jwks.Config{Sources: []jwks.Source{{Issuer: url, Discover: true}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return store
}

func seconds(claims jwt.MapClaims, name string) int64 { return int64(claims[name].(float64)) }

func TestToken(t *testing.T) {
	i, url := start(t)
	store := keysOf(t, url)
	now := time.Now().Unix()
	for _, c := range []struct {
		form  string
		claim map[string]any
		since map[string]int64 // seconds before now, give or take
	}{
		{"user=alice", map[string]any{"sub": "alice", "client_id": "web", "acr": "aal1", "cnf": nil, "scope": nil}, map[string]int64{"iat": 0, "auth_time": 0, "exp": -300}},
		{"user=alice&client_id=app&acr=aal2&scope=a+b", map[string]any{"client_id": "app", "acr": "aal2", "scope": "a b"}, nil},
		{"user=alice&login_age=20m", nil, map[string]int64{"iat": 0, "auth_time": 1200}},
		{"user=alice&age=20m&lifetime=1h", nil, map[string]int64{"iat": 1200, "auth_time": 0, "exp": -2400}},
		{"user=alice&x5t=thumb", map[string]any{"cnf": map[string]any{"x5t#S256": "thumb"}}, nil},
	} {
		status, token, raw := post(t, http.DefaultClient, url+"/token", c.form)
		if status != http.StatusOK || token.Type != "Bearer" {
			t.Errorf("%s: %d %s", c.form, status, raw)
			continue
		}
		claims := verify(t, store, url, token)
		for name, want := range c.claim {
			if got := claims[name]; fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s: %s = %v, want %v", c.form, name, got, want)
			}
		}
		for name, want := range c.since {
			if got := now - seconds(claims, name); got < want-10 || got > want+10 {
				t.Errorf("%s: %s is %d s ago, want %d", c.form, name, got, want)
			}
		}
		if claims["sid"] != token.SID || claims["jti"] != token.JTI || token.SID == "" || token.JTI == "" {
			t.Errorf("%s: sid %v, jti %v, answered %+v", c.form, claims["sid"], claims["jti"], token)
		}
	}
	token, err := i.Mint(Request{User: "bob", NoJTI: true, Audience: audience})
	if err != nil {
		t.Fatal(err)
	}
	if claims := verify(t, store, url, *token); claims["jti"] != nil || claims["sub"] != "bob" {
		t.Errorf("claims %v", claims)
	}
}

func TestBadRequests(t *testing.T) {
	_, url := start(t)
	for _, form := range []string{
		"/token?", "/token?user=", "/token?sid=unknown", "/token?user=a&lifetime=5", "/token?user=a&login_age=x",
		"/token?user=a&bind=x5t", "/token?user=a&bind=dpop", "/reauth?", "/reauth?sid=unknown&acr=aal2", "/withdraw?kid=unknown",
	} {
		path, body, _ := strings.Cut(form, "?")
		status, _, raw := post(t, http.DefaultClient, url+path, body)
		if status != http.StatusBadRequest || !strings.Contains(raw, `"invalid_request"`) {
			t.Errorf("%s: %d %s", form, status, raw)
		}
	}
	for _, path := range []string{"/token", "/reauth", "/rotate", "/withdraw"} {
		res, err := http.Get(url + path)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		if res.StatusCode != http.StatusMethodNotAllowed {
			t.Errorf("GET %s: %d", path, res.StatusCode)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("an issuer without a URL")
	}
}

// TestReauth: the session stays the same, the login is a new one.
func TestReauth(t *testing.T) {
	_, url := start(t)
	store := keysOf(t, url)
	_, old, _ := post(t, http.DefaultClient, url+"/token", "user=alice&login_age=1h&acr=aal1")
	_, same, _ := post(t, http.DefaultClient, url+"/token", "sid="+old.SID)
	_, fresh, _ := post(t, http.DefaultClient, url+"/reauth", "acr=aal2&scope=payments&sid="+old.SID)
	before, between, after := verify(t, store, url, old), verify(t, store, url, same), verify(t, store, url, fresh)
	for _, claims := range []jwt.MapClaims{between, after} {
		if claims["sid"] != before["sid"] || claims["sub"] != "alice" || claims["jti"] == before["jti"] {
			t.Errorf("claims %v, before %v", claims, before)
		}
	}
	if seconds(between, "auth_time") != seconds(before, "auth_time") || between["acr"] != "aal1" {
		t.Errorf("another token of the session is a new login: %v", between)
	}
	if seconds(after, "auth_time") < time.Now().Unix()-60 || after["acr"] != "aal2" || after["scope"] != "payments" {
		t.Errorf("no new login: %v", after)
	}
}

// TestRotate: the old key verifies until it is withdrawn.
func TestRotate(t *testing.T) {
	i, url := start(t)
	store := keysOf(t, url)
	first := i.KeyID()
	_, old, _ := post(t, http.DefaultClient, url+"/token", "user=alice")
	if status, _, raw := post(t, http.DefaultClient, url+"/withdraw", "kid="+first); status != http.StatusBadRequest {
		t.Errorf("the signing key was withdrawn: %s", raw)
	}
	if status, _, raw := post(t, http.DefaultClient, url+"/rotate", ""); status != http.StatusOK || i.KeyID() == first || !strings.Contains(raw, i.KeyID()) {
		t.Fatalf("%d %s", status, raw)
	}
	_, fresh, _ := post(t, http.DefaultClient, url+"/token", "sid="+old.SID)
	if err := store.Refresh(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	verify(t, store, url, old)
	verify(t, store, url, fresh)
	if status, _, raw := post(t, http.DefaultClient, url+"/withdraw", "kid="+first); status != http.StatusOK {
		t.Fatal(raw)
	}
	if err := store.Refresh(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	verify(t, store, url, fresh)
	set, _ := store.KeySet(url)
	jws, err := jose.Parse(old.Access)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := set.Verify(jws); err == nil {
		t.Error("the withdrawn key still verifies")
	}
}

// TestThumbprints: a key's id is its RFC 7638 thumbprint.
func TestThumbprints(t *testing.T) {
	i, _ := start(t)
	set, err := jose.ParseKeySet(i.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	if k := set.Keys()[0]; jose.Thumbprint(k.Public) != k.ID || k.ID != i.KeyID() {
		t.Errorf("kid %s, thumbprint %s", k.ID, jose.Thumbprint(k.Public))
	}
}

// TestCertificates: a server and a client that the CA vouches for meet over
// TLS, and bind=x5t binds the token to the client's certificate.
func TestCertificates(t *testing.T) {
	ca, err := NewCA("test")
	if err != nil {
		t.Fatal(err)
	}
	i, issuerURL := start(t)
	pair := func(c *Certificate, err error) tls.Certificate {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		p, err := c.TLS()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	server := httptest.NewUnstartedServer(i.Handler())
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{pair(ca.Server("localhost", "127.0.0.1"))},
		ClientCAs:    ca.Pool(), ClientAuth: tls.VerifyClientCertIfGiven,
	}
	server.StartTLS()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	alice, err := ca.Client("alice", "spiffe://prod.example/alice")
	client := func(cert tls.Certificate) *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{cert}}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	for _, host := range []string{"localhost", "127.0.0.1"} {
		to := "https://" + host + ":" + u.Port() + "/token"
		status, token, raw := post(t, client(pair(alice, err)), to, "user=alice&bind=x5t")
		if status != http.StatusOK {
			t.Fatal(raw)
		}
		claims := verify(t, keysOf(t, issuerURL), issuerURL, token)
		if got := claims["cnf"].(map[string]any)["x5t#S256"]; got != alice.Thumbprint() || len(alice.Thumbprint()) != 43 {
			t.Errorf("bound to %v, not %s", got, alice.Thumbprint())
		}
	}
	mallory, err := ca.Client("mallory")
	if err != nil || mallory.Thumbprint() == alice.Thumbprint() {
		t.Errorf("mallory has alice's thumbprint, or none: %v", err)
	}
	stranger, err := NewCA("stranger")
	if err != nil {
		t.Fatal(err)
	}
	// A client does not even offer what the server's CA has not signed.
	eve := client(pair(stranger.Client("eve")))
	if status, _, raw := post(t, eve, "https://localhost:"+u.Port()+"/token", "user=alice&bind=x5t"); status != http.StatusBadRequest {
		t.Errorf("another CA's certificate was accepted: %s", raw)
	}
	leaf := pair(alice, nil).Leaf
	if len(leaf.URIs) != 1 || leaf.URIs[0].String() != "spiffe://prod.example/alice" || leaf.IsCA {
		t.Errorf("alice's certificate: %v, CA %v", leaf.URIs, leaf.IsCA)
	}
	cert, key, err := alice.Write(t.TempDir(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
		t.Error(err)
	}
	if !strings.HasPrefix(string(ca.PEM()), "-----BEGIN CERTIFICATE-----") {
		t.Errorf("root: %s", ca.PEM())
	}
	if _, err := ca.Client("bad", "spiffe://%zz"); err == nil {
		t.Error("a bad URI was accepted")
	}
}
