// Package issuer is a toy OAuth 2.0 authorization server: real signatures and
// real endpoints, and no login page. Whoever can reach it gets a token for any
// user. It listens on loopback, and it is what the demo and the examples use.
//
//	GET  /.well-known/openid-configuration         metadata (also under the RFC 8414 name)
//	GET  /jwks                                     the public keys
//	POST /token    user=alice&client_id=web        logs in: an ES256 at+jwt (RFC 9068), see token.go
//	POST /token    sid=…                           another token of the same session
//	POST /reauth   sid=…&acr=aal2                  the user proves again who they are: new auth_time and acr
//	POST /rotate                                   signs with a new key from now on, keeps the old ones published
//	POST /withdraw kid=…                           publishes a key no longer
package issuer

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
)

const defaultLifetime = 5 * time.Minute

// Config of an Issuer.
type Config struct {
	URL      string        // what the tokens' iss says, and where Handler is served
	Audience string        // what their aud says
	Lifetime time.Duration // of a token where the request names none; 0 is 5m
}

// Issuer signs tokens and remembers sessions. All methods may be called from
// any goroutine.
type Issuer struct {
	config Config

	mu       sync.Mutex
	keys     []*key // published, oldest first; the last one signs
	sessions map[string]*Session
}

// key is a signing key; its id is its RFC 7638 thumbprint.
type key struct {
	id      string
	private *ecdsa.PrivateKey
	jwk     jwk
}

type jwk struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"`
	X     string `json:"x"`
	Y     string `json:"y"`
	ID    string `json:"kid"`
	Use   string `json:"use"`
	Alg   string `json:"alg"`
}

// New returns an issuer with one key.
func New(c Config) (*Issuer, error) {
	if c.URL == "" || c.Audience == "" {
		return nil, errors.New("issuer: URL and Audience are needed")
	}
	if c.Lifetime == 0 {
		c.Lifetime = defaultLifetime
	}
	i := &Issuer{config: c, sessions: make(map[string]*Session)}
	_, err := i.Rotate()
	return i, err
}

// Rotate makes a new key and signs with it from now on. The keys before it stay
// published until they are withdrawn.
func (i *Issuer) Rotate() (kid string, err error) {
	k, err := newKey()
	if err != nil {
		return "", fmt.Errorf("issuer: make a key: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, k)
	return k.id, nil
}

// Withdraw takes a key out of the published set. The signing key stays.
func (i *Issuer) Withdraw(kid string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.IndexFunc(i.keys, func(k *key) bool { return k.id == kid })
	switch at {
	case -1:
		return fmt.Errorf("issuer: no key %q", kid)
	case len(i.keys) - 1:
		return fmt.Errorf("issuer: key %q signs, rotate first", kid)
	}
	i.keys = slices.Delete(i.keys, at, at+1)
	return nil
}

// JWKS is the published key set.
func (i *Issuer) JWKS() []byte {
	i.mu.Lock()
	defer i.mu.Unlock()
	set := struct {
		Keys []jwk `json:"keys"`
	}{}
	for _, k := range i.keys {
		set.Keys = append(set.Keys, k.jwk)
	}
	doc, err := json.Marshal(set)
	if err != nil {
		panic(err) // strings only
	}
	return doc
}

// KeyID is the kid of the key that signs.
func (i *Issuer) KeyID() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1].id
}

func newKey() (*key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	point, err := private.PublicKey.Bytes() // 0x04, X, Y
	if err != nil {
		return nil, err
	}
	k := &key{private: private, jwk: jwk{Type: "EC", Curve: "P-256", Use: "sig", Alg: "ES256"}}
	k.jwk.X = base64.RawURLEncoding.EncodeToString(point[1:33])
	k.jwk.Y = base64.RawURLEncoding.EncodeToString(point[33:])
	sum := sha256.Sum256(fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":%q,"y":%q}`, k.jwk.X, k.jwk.Y))
	k.id = base64.RawURLEncoding.EncodeToString(sum[:])
	k.jwk.ID = k.id
	return k, nil
}

// Handler serves the endpoints of the package comment.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	metadata := map[string]any{
		"issuer":                                     i.config.URL,
		"jwks_uri":                                   i.config.URL + "/jwks",
		"token_endpoint":                             i.config.URL + "/token",
		"response_types_supported":                   []string{"token"},
		"subject_types_supported":                    []string{"public"},
		"id_token_signing_alg_values_supported":      []string{"ES256"},
		"tls_client_certificate_bound_access_tokens": true, // RFC 8705, 3.3
	}
	describe := func(w http.ResponseWriter, _ *http.Request) { reply(w, http.StatusOK, metadata) }
	mux.HandleFunc("GET /.well-known/openid-configuration", describe)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", describe)
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(i.JWKS())
	})
	mux.HandleFunc("POST /token", i.serveToken)
	mux.HandleFunc("POST /reauth", i.serveReauth)
	mux.HandleFunc("POST /rotate", func(w http.ResponseWriter, _ *http.Request) {
		kid, err := i.Rotate()
		answer(w, map[string]any{"kid": kid}, err)
	})
	mux.HandleFunc("POST /withdraw", func(w http.ResponseWriter, r *http.Request) {
		kid := r.FormValue("kid")
		answer(w, map[string]any{"kid": kid}, i.Withdraw(kid))
	})
	return http.MaxBytesHandler(mux, 64<<10)
}

// answer is a reply, or RFC 6749's error document.
func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		reply(w, http.StatusBadRequest, map[string]any{"error": "invalid_request", "error_description": err.Error()})
		return
	}
	reply(w, http.StatusOK, v)
}

func reply(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store") // RFC 6749, 5.1
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}
