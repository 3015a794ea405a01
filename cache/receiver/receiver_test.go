package receiver

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

const (
	idp  = "https://idp.example"
	edge = "https://edge.example"
)

// moment is when the tests take place.
var moment = time.Unix(1_800_000_000, 0).UTC()

// obj is a JSON object.
type obj = map[string]any

// signer is an issuer's key.
type signer struct {
	kid string
	key *ecdsa.PrivateKey
}

func newSigner(t testing.TB, kid string) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &signer{kid, key}
}

// keys gives the public halves of some signers.
func keys(t testing.TB, signers ...*signer) func() (*jose.KeySet, bool) {
	t.Helper()
	var list []obj
	for _, s := range signers {
		point, err := s.key.PublicKey.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, obj{
			"kty": "EC", "crv": "P-256", "kid": s.kid,
			"x": base64.RawURLEncoding.EncodeToString(point[1:33]),
			"y": base64.RawURLEncoding.EncodeToString(point[33:]),
		})
	}
	return parseKeys(t, obj{"keys": list})
}

func parseKeys(t testing.TB, set any) func() (*jose.KeySet, bool) {
	t.Helper()
	parsed, err := jose.ParseKeySet(marshal(t, set))
	if err != nil {
		t.Fatal(err)
	}
	return func() (*jose.KeySet, bool) { return parsed, true }
}

func marshal(t testing.TB, v any) []byte {
	t.Helper()
	doc, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// sign makes a token; typ "" leaves it out. claims may be JSON text.
func (s *signer) sign(t testing.TB, typ string, claims any) string {
	t.Helper()
	header := obj{"alg": "ES256", "kid": s.kid}
	if typ != "" {
		header["typ"] = typ
	}
	payload, ok := claims.(string)
	if !ok {
		payload = string(marshal(t, claims))
	}
	input := base64.RawURLEncoding.EncodeToString(marshal(t, header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload))
	digest := sha256.Sum256([]byte(input))
	r, sv, err := ecdsa.Sign(rand.Reader, s.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	sv.FillBytes(signature[32:])
	return input + "." + base64.RawURLEncoding.EncodeToString(signature[:])
}

// set gives the claims of a SET about one event, changed as more says: a nil
// takes a claim away.
func set(event string, body any, more obj) obj {
	claims := obj{
		"iss": idp, "aud": edge, "iat": moment.Unix(), "jti": "j1",
		"sub_id": obj{"format": "iss_sub", "iss": idp, "sub": "u1"},
		"events": obj{event: body},
	}
	return with(claims, more)
}

func with(claims, more obj) obj {
	claims = maps.Clone(claims)
	for name, value := range more {
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
	}
	return claims
}

// memory is a sink that remembers.
type memory struct {
	mu      sync.Mutex
	effects []Effect
	calls   int
	err     error // returned instead
}

func (m *memory) sink(_ context.Context, effects ...Effect) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if m.err != nil {
		return m.err
	}
	m.effects = append(m.effects, effects...)
	return nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) show() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return show(m.effects)
}

// show writes effects in one line each.
func show(effects []Effect) string {
	var lines []string
	for _, e := range effects {
		words := []string{e.Op.String()}
		if e.Op == Revoke || e.Op == Lift || e.Op == Signal {
			words = append(words, e.Cause.String())
			for _, m := range e.Members {
				words = append(words, fmt.Sprintf("%v=%s", m.Kind, m.Value))
			}
			if e.Issuer != idp {
				words = append(words, "at "+e.Issuer)
			}
		}
		if e.Level != "" {
			words = append(words, e.Level)
		}
		if e.Stream != "" {
			words = append(words, "on "+e.Stream)
		}
		if e.Deny {
			words = append(words, "deny")
		}
		if e.UntilLifted {
			words = append(words, "until lifted")
		}
		if !e.At.Equal(moment) {
			words = append(words, fmt.Sprintf("%+d", e.At.Unix()-moment.Unix()))
		}
		if len(e.Unrecorded) > 0 {
			words = append(words, "without "+strings.Join(e.Unrecorded, ","))
		}
		if e.Moved != "" {
			words = append(words, "("+e.Moved+")")
		}
		if e.Why != "" {
			words = append(words, e.Why)
		}
		lines = append(lines, strings.Join(words, " "))
	}
	return strings.Join(lines, "\n")
}

// testCore is a receiver of idp's tokens at the moment.
func testCore(t testing.TB, c Config) *core {
	t.Helper()
	if c.Issuer == "" {
		c.Issuer = idp
	}
	if c.Audience == "" {
		c.Audience = edge
	}
	if c.Sink == nil {
		c.Sink = (&memory{}).sink
	}
	r, err := newCore(c)
	if err != nil {
		t.Fatal(err)
	}
	r.now = func() time.Time { return moment }
	return r
}
