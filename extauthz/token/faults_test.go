package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // ES384
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// kids are the issuer's keys; each one's JWK names its alg.
var kids = []string{"es256-1", "es384-1", "eddsa-1", "ps256-1", "rs256-1"}

// member is a name and a value in JSON, as they stand.
type member struct{ name, value string }

// draft is a token before it is signed, and what is done to it after.
type draft struct {
	m              *maker
	header, claims []member
	kid            string                          // whose key signs
	sign           func(input string) []byte       // nil: as the key's alg does
	json           func(header, payload *string)   // damage of the text, signed over
	encode         func(part string, i int) string // another base64url, signed over
	text           func(raw string) string         // damage of what is signed
	at             time.Time
	faults         []string
	looser         string // its one fault, where that is in looser
}

// maker makes drafts.
type maker struct {
	t             *testing.T
	rng           *mathrand.Rand
	idp, stranger *extauthztest.Issuer
}

func pick[T any](m *maker, of ...T) T { return of[m.rng.IntN(len(of))] }

func quote(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// good is a draft that both accept.
func (m *maker) good(kid string) *draft {
	at := now
	return &draft{m: m, kid: kid, at: at,
		header: []member{{`"typ"`, `"at+jwt"`}, {`"alg"`, quote(algOf(kid))}, {`"kid"`, quote(kid)}},
		claims: []member{
			{`"iss"`, quote(idpName)}, {`"sub"`, `"user-1"`}, {`"aud"`, quote(extauthztest.Audience)}, {`"client_id"`, `"c"`}, {`"sid"`, `"s"`},
			{`"iat"`, fmt.Sprint(at.Unix())}, {`"exp"`, fmt.Sprint(at.Unix() + 300)}, {`"auth_time"`, fmt.Sprint(at.Unix())},
			{`"jti"`, quote(fmt.Sprint("j", m.rng.Uint32()))}, {`"acr"`, `"aal2"`}, {`"scope"`, `"read write"`},
		}}
}

// any is a good draft by some key; the dear ones, which cost ten times as much,
// are rarer.
func (m *maker) any() *draft {
	if m.rng.IntN(8) == 0 {
		return m.good(kids[m.rng.IntN(len(kids))])
	}
	return m.good(pick(m, "es256-1", "eddsa-1"))
}

// draft makes a token with up to two faults. Those that only we accept come alone.
func (m *maker) draft() *draft {
	d := m.any()
	for range m.rng.IntN(3) {
		f := &faults[m.rng.IntN(len(faults))]
		if looser[f.name] != "" {
			if len(d.faults) == 0 {
				f.do(m, d)
				d.faults, d.looser = append(d.faults, f.name), f.name
				return d
			}
			continue
		}
		f.do(m, d)
		d.faults = append(d.faults, f.name)
	}
	return d
}

func algOf(kid string) string {
	if kid == "eddsa-1" {
		return "EdDSA"
	}
	return strings.ToUpper(kid[:5])
}

func object(members []member) string {
	parts := make([]string, len(members))
	for i, one := range members {
		parts[i] = one.name + ":" + one.value
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func (d *draft) raw() string {
	header, payload := object(d.header), object(d.claims)
	if d.json != nil {
		d.json(&header, &payload)
	}
	parts := [2]string{b64(header), b64(payload)}
	if d.encode != nil {
		parts[0], parts[1] = d.encode(parts[0], 0), d.encode(parts[1], 1)
	}
	input := parts[0] + "." + parts[1]
	var signature []byte
	if d.sign != nil {
		signature = d.sign(input)
	} else {
		signature = d.m.signed(d.m.idp, d.kid, input)
	}
	raw := input + "." + b64(string(signature))
	if d.text != nil {
		raw = d.text(raw)
	}
	return raw
}

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// signed signs with a key as its alg says.
func (m *maker) signed(by *extauthztest.Issuer, kid, input string) []byte {
	m.t.Helper()
	key, hash := by.Signer(kid), crypto.SHA256
	if kid == "es384-1" {
		hash = crypto.SHA384
	}
	h := hash.New()
	h.Write([]byte(input))
	sum := h.Sum(nil)
	var signature []byte
	var err error
	switch kid {
	case "es256-1", "es384-1":
		r, s, e := ecdsa.Sign(rand.Reader, key.(*ecdsa.PrivateKey), sum)
		signature, err = fixed(r, s, len(sum)), e
	case "eddsa-1":
		signature, err = key.Sign(rand.Reader, []byte(input), crypto.Hash(0))
	case "ps256-1":
		signature, err = m.pss(key, sum, rsa.PSSSaltLengthEqualsHash)
	default:
		signature, err = key.Sign(rand.Reader, sum, hash)
	}
	if err != nil {
		m.t.Fatal(err)
	}
	return signature
}

func (m *maker) pss(key crypto.Signer, sum []byte, salt int) ([]byte, error) {
	return key.Sign(rand.Reader, sum, &rsa.PSSOptions{SaltLength: salt, Hash: crypto.SHA256})
}

func fixed(r, s *big.Int, size int) []byte {
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	s.FillBytes(out[size:])
	return out
}

// set puts a member's value, or adds the member.
func set(members *[]member, name, value string) {
	for i := range *members {
		if (*members)[i].name == quote(name) {
			(*members)[i].value = value
			return
		}
	}
	*members = append(*members, member{quote(name), value})
}

func drop(members *[]member, name string) {
	for i := range *members {
		if (*members)[i].name == quote(name) {
			*members = append((*members)[:i:i], (*members)[i+1:]...)
			return
		}
	}
}

// escaped writes a JSON string with one letter as \uXXXX.
func escaped(m *maker, text string) string {
	if len(text) < 3 || text[0] != '"' || strings.Contains(text, `\`) {
		return text
	}
	i := 1 + m.rng.IntN(len(text)-2)
	if text[i] >= 0x80 {
		return text
	}
	return fmt.Sprintf(`%s\u%04x%s`, text[:i], text[i], text[i+1:])
}

// damaged changes a text in one of the ways in which texts go wrong.
func damaged(m *maker, text string) string {
	if len(text) < 4 {
		return text
	}
	out := []byte(text)
	i, j := m.rng.IntN(len(out)), m.rng.IntN(len(out))
	switch i, j = min(i, j), max(i, j); m.rng.IntN(6) {
	case 0:
		out[i] ^= 1 << m.rng.IntN(8)
	case 1:
		out[i] = "{}[]\",:.\\ 0-eE9/%?#AaZz_"[m.rng.IntN(24)]
	case 2:
		out = append(out[:i:i], out[min(i+1+m.rng.IntN(4), len(out)):]...)
	case 3:
		out = append(out[:j:j], out[i:]...)
	case 4:
		words := []string{`"alg":"none",`, `"sub":"root",`, `"exp":1900000000,`, `"aud":[],`, `\u0061`, "\x00", "é", "1e3", "null", `{"x":`}
		out = append(out[:i:i], append([]byte(words[m.rng.IntN(len(words))]), out[i:]...)...)
	case 5:
		out[i], out[j] = out[j], out[i]
	}
	return string(out)
}

// part gives the bounds of one part of a token.
func part(raw string, i int) (start, end int) {
	for range i {
		dot := strings.IndexByte(raw[start:], '.')
		if dot < 0 {
			return len(raw), len(raw)
		}
		start += dot + 1
	}
	if end = strings.IndexByte(raw[start:], '.'); end < 0 {
		return start, len(raw)
	}
	return start, start + end
}

// uncounted sets a bit behind the last byte of base64url, where there is one.
func uncounted(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	if len(text)%4 < 2 {
		return text
	}
	last := strings.IndexByte(alphabet, text[len(text)-1])
	if last < 0 {
		return text
	}
	return text[:len(text)-1] + string(alphabet[last|1])
}

// publicForms are texts of a public key that a confused verifier takes for an
// HMAC secret.
func (m *maker) publicForms() [][]byte {
	var forms [][]byte
	for _, kid := range kids {
		public := m.idp.Signer(kid).Public()
		der, err := x509.MarshalPKIXPublicKey(public)
		if err != nil {
			m.t.Fatal(err)
		}
		forms = append(forms, der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), []byte(quote(extauthztest.JWK(public))))
	}
	return append(forms, nil)
}

func (m *maker) hmac(input string) []byte {
	h := hmac.New(sha256.New, pick(m, m.publicForms()...))
	h.Write([]byte(input))
	return h.Sum(nil)
}

// ecdsaOdd makes signatures that are none of RFC 7518 3.4, or the other one
// that is.
func (m *maker) ecdsaOdd(d *draft, good bool) {
	d.kid = pick(m, "es256-1", "es384-1")
	set(&d.header, "kid", quote(d.kid))
	set(&d.header, "alg", quote(algOf(d.kid)))
	curve := map[string]elliptic.Curve{"es256-1": elliptic.P256(), "es384-1": elliptic.P384()}[d.kid]
	way := m.rng.IntN(7)
	d.sign = func(input string) []byte {
		signature := m.signed(m.idp, d.kid, input)
		size, order := len(signature)/2, curve.Params().N
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		if good {
			return fixed(r, s.Sub(order, s), size)
		}
		switch way {
		case 0:
			der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
			if err != nil {
				m.t.Fatal(err)
			}
			return der
		case 1:
			return make([]byte, 2*size)
		case 2:
			return fixed(new(big.Int), s, size)
		case 3:
			return fixed(r, order, size)
		case 4:
			return append([]byte{0}, signature...)
		case 5:
			return signature[:2*size-1]
		default:
			return fixed(s, r, size)
		}
	}
}
