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
	keys     []*Key // published, oldest first; the last one signs
	sessions map[string]*Session
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
	k, err := NewKey("")
	if err != nil {
		return "", fmt.Errorf("issuer: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.keys = append(i.keys, k)
	return k.KID, nil
}

// Withdraw takes a key out of the published set. The signing key stays.
func (i *Issuer) Withdraw(kid string) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	at := slices.IndexFunc(i.keys, func(k *Key) bool { return k.KID == kid })
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
	return KeySet(i.keys...)
}

// KeyID is the kid of the key that signs.
func (i *Issuer) KeyID() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.keys[len(i.keys)-1].KID
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
