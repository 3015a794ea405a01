package proof_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/url"
	"path"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

func ath(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// loosely judges a proof as the usual libraries do, with golang-jwt and
// encoding/json, for GET https://api.example/v1/items: whatever we accept, it
// accepts. It shares no line with what it judges.
func loosely(raw string) (jkt string, err error) {
	token, err := jwt.NewParser(
		jwt.WithValidMethods([]string{"ES256", "ES384", "EdDSA", "PS256", "RS256"}), jwt.WithoutClaimsValidation(), jwt.WithJSONNumber(),
	).Parse(raw, func(token *jwt.Token) (any, error) {
		key, err := looseKey(token.Header["jwk"])
		if err == nil {
			jkt = extauthztest.JWKThumbprint(key)
		}
		return key, err
	})
	if err != nil {
		return "", err
	}
	c := token.Claims.(jwt.MapClaims)
	typ, _ := token.Header["typ"].(string)
	htu, _ := c["htu"].(string)
	jti, _ := c["jti"].(string)
	u, err := url.Parse(htu)
	if err != nil {
		return "", err
	}
	iat, err := c["iat"].(json.Number).Float64()
	if err != nil {
		return "", err
	}
	switch age := float64(now.Unix()) - iat; {
	case strings.TrimPrefix(strings.ToLower(typ), "application/") != "dpop+jwt":
		return "", errors.New("typ")
	case c["htm"] != "GET":
		return "", errors.New("htm")
	case !strings.EqualFold(u.Scheme, "https") || !strings.EqualFold(u.Hostname(), "api.example") || u.Port() != "" && u.Port() != "443" || path.Clean(u.Path) != "/v1/items":
		return "", errors.New("htu")
	case c["ath"] != ath(accessToken):
		return "", errors.New("ath")
	case jti == "" || age > 60 || age < -6: // a fraction of the second ahead
		return "", errors.New("jti or iat")
	}
	return jkt, nil
}

func looseKey(jwk any) (crypto.PublicKey, error) {
	members, _ := jwk.(map[string]any)
	number := func(name string) *big.Int {
		text, _ := members[name].(string)
		b, _ := base64.RawURLEncoding.DecodeString(text)
		return new(big.Int).SetBytes(b)
	}
	if members["d"] != nil {
		return nil, errors.New("private")
	}
	switch members["kty"] {
	case "EC":
		curve := map[any]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}[members["crv"]]
		if curve == nil || !curve.IsOnCurve(number("x"), number("y")) {
			return nil, errors.New("curve")
		}
		return &ecdsa.PublicKey{Curve: curve, X: number("x"), Y: number("y")}, nil
	case "OKP":
		return ed25519.PublicKey(number("x").FillBytes(make([]byte, 32))), nil
	case "RSA":
		return &rsa.PublicKey{N: number("n"), E: int(number("e").Int64())}, nil
	}
	return nil, errors.New("kty")
}

// TestDPoPSignatures: both implementations agree on good proofs and forged
// ones of every algorithm.
func TestDPoPSignatures(t *testing.T) {
	d := checker(t, proof.DPoPConfig{})
	for _, alg := range []string{"ES256", "ES384", "EdDSA", "PS256", "RS256"} {
		client := extauthztest.NewProver(t, alg)
		for range 20 {
			good := client.Proof("GET", api, accessToken, now)
			for raw, want := range map[string]reason.Reason{good: reason.OK, extauthztest.Forge(good): reason.DPoPInvalid} {
				var out proof.Proof
				r := ask(d, raw, client.JKT, &out)
				jkt, err := loosely(raw)
				if r != want || (err == nil) != (r == reason.OK) || jkt != out.JKT {
					t.Fatalf("%s: %v, %v, %q and %q", alg, r, err, out.JKT, jkt)
				}
			}
		}
	}
}

// mutate changes a text somewhere in one of the ways in which texts go wrong.
func mutate(rng *rand.Rand, text []byte) []byte {
	out := append([]byte(nil), text...)
	for range 1 + rng.IntN(2) {
		if len(out) < 4 {
			return out
		}
		i, j := rng.IntN(len(out)), rng.IntN(len(out))
		i, j = min(i, j), max(i, j)
		switch rng.IntN(7) {
		case 0:
			out[i] ^= 1 << rng.IntN(8)
		case 1:
			out[i] = "{}[]\",:.\\ 0-eE9/%?#AaZz_"[rng.IntN(24)]
		case 2:
			out = append(out[:i:i], out[min(i+1+rng.IntN(4), len(out)):]...)
		case 3: // a stretch twice
			out = append(out[:j:j], out[i:]...)
		case 4:
			words := []string{`"htm":"GET",`, `"htm":"POST",`, `"jti":"x",`, `"alg":"none",`, `"d":"AA",`, `"iat":1800000000,`, `\u0061`, "../", "%2e%2e/", ":443", "\x00", "é", "1e3"}
			out = append(out[:i:i], append([]byte(words[rng.IntN(len(words))]), out[i:]...)...)
		case 5:
			out[i], out[j] = out[j], out[i]
		case 6:
			out = append(out[:i:i], out[j:]...)
		}
	}
	return out
}

// reword changes a payload or header that stays JSON: members added in front,
// another spelling of htu.
func reword(rng *rand.Rand, text []byte) []byte {
	members := []string{` `, "\n\t", `"x":1,`, `"HTM":"POST",`, `"htm":"GET",`, `"nonce":"n",`, `"nonce":1,`, `"exp":1.5e3,`, `"deep":{"a":[1,{}]},`, `"jti":"b",`, `"iat":1800000000,`, `"kid":"k",`, `"crit":[],`, `"alg":"none",`}
	paths := []string{"/v1/items", "/v1/items?x", "/v1/./items", "/v1/x/../items", "/v1/%69tems", "/v1%2Fitems", "/v1/items/", "/V1/items", "//v1/items", "/v1/items#f", "/%76%31/items", "/v1/items%00"}
	hosts := []string{"https://api.example", "HTTPS://API.example:443", "https://api.example:", "https://api.example.", "https://me@api.example", "http://api.example", "https://api.example:8443", "https://%61pi.example"}
	out := strings.Replace(string(text), api, hosts[rng.IntN(1+rng.IntN(2)*(len(hosts)-1))]+paths[rng.IntN(1+rng.IntN(2)*(len(paths)-1))], 1)
	return []byte(strings.Replace(out, "{", "{"+members[rng.IntN(len(members))], 1))
}

// TestDPoPDifferential: of some ten thousand damaged proofs, signed after the
// damage or before, none is accepted here that the other implementation refuses.
func TestDPoPDifferential(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	rng := rand.New(rand.NewPCG(seed, 1))
	d := checker(t, proof.DPoPConfig{})
	clients := []*extauthztest.Prover{extauthztest.NewProver(t, "ES256"), extauthztest.NewProver(t, "EdDSA")}
	both, ours, theirs := 0, 0, 0
	for n := range 12_000 {
		client := clients[n%2]
		raw := client.Proof("GET", api, accessToken, now)
		head, rest, _ := strings.Cut(raw, ".")
		body, _, _ := strings.Cut(rest, ".")
		header, _ := base64.RawURLEncoding.DecodeString(head)
		payload, _ := base64.RawURLEncoding.DecodeString(body)
		switch rng.IntN(6) {
		case 0:
			raw = client.Sign(mutate(rng, header), payload)
		case 1:
			raw = client.Sign(header, mutate(rng, payload))
		case 2:
			raw = client.Sign(reword(rng, header), payload)
		case 3, 4:
			raw = client.Sign(header, reword(rng, payload))
		case 5:
			raw = string(mutate(rng, []byte(raw)))
		}
		accepted := ask(d, raw, client.JKT, &proof.Proof{}) == reason.OK
		jkt, err := quietly(raw)
		switch {
		case accepted && err != nil && strings.Contains(err.Error(), "invalid URL escape"):
			// net/url has no escapes of ASCII in a host; RFC 3986, 6.2.2.2 has.
		case accepted && (err != nil || jkt != client.JKT):
			t.Fatalf("seed %d: accepted here, there %v: %s", seed, err, raw)
		case accepted:
			both++
		case err == nil && jkt == client.JKT:
			theirs++
		default:
			ours++
		}
	}
	t.Logf("accepted by both %d, by neither %d, by the other alone %d (members that stand twice, crit, nonces that are no strings, odd paths)", both, ours, theirs)
	if both < 1000 || ours < 1000 {
		t.Errorf("the damage is too heavy or too light: %d and %d", both, ours)
	}
}

// quietly is loosely where a panic of it is a refusal.
func quietly(raw string) (jkt string, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return loosely(raw)
}

// outside is a TB that may be used inside a fuzz target too.
type outside struct{ f *testing.F }

func (outside) Helper()                          {}
func (o outside) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

// FuzzDPoP signs what the fuzzer made of header and payload, so that it gets
// past the signature, or takes its text as it is.
func FuzzDPoP(f *testing.F) {
	client := extauthztest.NewProver(outside{f}, "EdDSA")
	jwk, err := json.Marshal(extauthztest.JWK(client.Public()))
	if err != nil {
		f.Fatal(err)
	}
	head := func(members string) []byte { return []byte(`{"typ":"dpop+jwt","alg":"EdDSA",` + members + `}`) }
	body := `{"jti":"a","htm":"GET","htu":"` + api + `","iat":1800000000,"ath":"` + ath(accessToken) + `"`
	// JWK stands for the client's key, which is another one in each run.
	f.Add(head(`"jwk":JWK`), []byte(body+`}`), "")
	f.Add(head(`"jwk":JWK,"kid":"x"`), []byte(body+`,"nonce":"n","exp":1}`), "")
	f.Add(head(`"jwk":{"kty":"OKP","crv":"Ed25519","x":"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`), []byte(body+`}`), "")
	f.Add([]byte(`{"typ":"DPOP+JWT","alg":"Ed25519","jwk":JWK}`), []byte(strings.Replace(body, "/v1/", "/x/%2e%2E/v1/", 1)+`}`), "")
	f.Add([]byte(nil), []byte(nil), client.Proof("GET", api, accessToken, now))
	f.Add([]byte(nil), []byte(nil), "..")
	d := checker(f, proof.DPoPConfig{})
	f.Fuzz(func(t *testing.T, header, payload []byte, raw string) {
		if raw == "" {
			raw = client.Sign([]byte(strings.ReplaceAll(string(header), "JWK", string(jwk))), payload)
		}
		var out, again proof.Proof
		r := ask(d, raw, client.JKT, &out)
		switch r {
		case reason.OK:
			jkt, err := quietly(raw)
			// It does not know the name Ed25519, and no escapes of ASCII in a host.
			listed := err != nil && (strings.Contains(err.Error(), "alg) is unavailable") || strings.Contains(err.Error(), "invalid URL escape"))
			if err != nil && !listed || out.JKT != client.JKT || jkt != "" && jkt != out.JKT {
				t.Fatalf("accepted; the other implementation: %v: %s", err, raw)
			}
			if out.JTI == "" || len(out.JTI) > 256 || !out.Expires.After(now) {
				t.Fatalf("%+v", out)
			}
		case reason.BindingMismatch, reason.DPoPInvalid, reason.DPoPMismatch, reason.DPoPExpired:
			if out != (proof.Proof{}) {
				t.Fatalf("%v with %+v", r, out)
			}
		default:
			t.Fatalf("%v", r)
		}
		if ask(d, raw, client.JKT, &again) != r || again != out {
			t.Fatal("asked twice, answered differently")
		}
	})
}
