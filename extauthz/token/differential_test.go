package token

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/cryptotest"
	"time"

	gojose "github.com/go-jose/go-jose/v4"
	gojwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

var (
	seed   = flag.Uint64("seed", 1, "of the differential test's tokens, keys and signatures")
	tokens = flag.Int("tokens", 10_000, "that the differential test makes")
)

// their is go-jose with its own checks of a JWT, set up for the same issuer. It
// shares no line with us beyond Go's own crypto.
type their struct{ keys gojose.JSONWebKeySet }

func newTheir(t *testing.T, jwks []byte) *their {
	var o their
	if err := json.Unmarshal(jwks, &o.keys); err != nil {
		t.Fatal(err)
	}
	return &o
}

func (o *their) verify(raw string, at time.Time) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	t, err := gojwt.ParseSigned(raw, []gojose.SignatureAlgorithm{gojose.ES256, gojose.ES384, gojose.EdDSA, gojose.PS256, gojose.RS256})
	if err != nil {
		return err
	}
	return o.judge(t, &o.keys, at)
}

// withoutKid asks again with the one key of the token's alg, where the token
// names none.
func (o *their) withoutKid(raw string, at time.Time) error {
	t, err := gojwt.ParseSigned(raw, []gojose.SignatureAlgorithm{gojose.ES256, gojose.ES384, gojose.EdDSA, gojose.PS256, gojose.RS256})
	if err != nil {
		return err
	}
	head, err := base64.RawURLEncoding.DecodeString(raw[:strings.IndexByte(raw, '.')])
	if err != nil {
		return err
	}
	if names, err := jose.ParseObject(head); err != nil || names.Has("kid") {
		return errors.New("it names a key")
	}
	for _, key := range o.keys.Keys {
		if key.Algorithm == t.Headers[0].Algorithm {
			return o.judge(t, key.Key, at)
		}
	}
	return errors.New("no key of its alg")
}

func (o *their) judge(t *gojwt.JSONWebToken, key any, at time.Time) error {
	var c gojwt.Claims
	if err := t.Claims(key, &c); err != nil {
		return err
	}
	return c.ValidateWithLeeway(gojwt.Expected{
		Issuer: idpName, AnyAudience: gojwt.Audience{"https://first.example", extauthztest.Audience}, Time: at,
	}, skew)
}

// looser are the tokens that we accept and it refuses: each with the reason
// why it is we who are right. They are made alone, so that one of these reasons
// never stands in for another fault.
var looser = map[string]string{
	"no kid":        "contract §10: a token without kid is taken where one key alone serves its alg; go-jose wants a kid with a key set",
	"alg Ed25519":   "RFC 9864: another name of EdDSA",
	"header unread": "RFC 8725 3.10: jwk, x5c and the like are never read here; go-jose refuses what it can not parse of them",
}

// stricter are the tokens that we refuse and it accepts: the fault, why we are
// stricter, and what they end in. A row that nothing falls into fails too.
var stricter = map[string]struct {
	why    string
	ends   []reason.Reason // each is met, but for those by chance
	chance bool
}{
	"typ":              {"RFC 9068 4, RFC 8725 3.11: go-jose leaves typ to the application", []reason.Reason{reason.TypeRefused, reason.TokenMalformed}, false},
	"key of one alg":   {"RFC 8725 3.1: a key whose JWK names PS256 signs nothing else; go-jose does not look", []reason.Reason{reason.AlgorithmRefused}, false},
	"crit, b64, zip":   {"RFC 7515 4.1.11, RFC 7797: no extension is known here; go-jose knows b64 and ignores zip", []reason.Reason{reason.TokenMalformed}, false},
	"member twice":     {"RFC 7519 4: two readers may take another one each; go-jose looks at some levels only", []reason.Reason{reason.TokenMalformed}, false},
	"claim missing":    {"RFC 9068 2.2: exp, iat and a subject; go-jose checks what is there", []reason.Reason{reason.ClaimsInvalid}, false},
	"claim of a type":  {"contract §10: every claim that is read has its type; go-jose reads the registered ones, and null as absent", []reason.Reason{reason.ClaimsInvalid}, false},
	"claim added":      {"RFC 8417 4.2 (events), RFC 7800 (cnf), contract §10: go-jose leaves these to the application", []reason.Reason{reason.ClaimsInvalid, reason.TypeRefused}, false},
	"odd date":         {"contract §10: NumericDates from 0 to the year 9999, no exponents", []reason.Reason{reason.ClaimsInvalid}, false},
	"moment of exp":    {"RFC 7519 4.1.4: on exp a token has ended; go-jose ends it after that moment", []reason.Reason{reason.TokenExpired}, false},
	"no Unicode":       {"RFC 7493 2.1: go-jose makes U+FFFD of bad UTF-8 and lone surrogates, so that two subjects become one", []reason.Reason{reason.TokenMalformed}, false},
	"deep or long":     {"bounds of ours: depth, JSON, a claim's length, max_token_bytes", []reason.Reason{reason.TokenMalformed, reason.TokenTooLarge, reason.ClaimsInvalid}, false},
	"PSS salt":         {"RFC 7518 3.5: a salt as long as the hash; go-jose takes any length", []reason.Reason{reason.SignatureInvalid}, false},
	"bits not counted": {"RFC 7515 2, RFC 4648 3.5: one text for one value; go-jose drops them", []reason.Reason{reason.TokenMalformed}, false},
	"white space":      {"RFC 7515 2: none in base64url; go-jose takes it out first", []reason.Reason{reason.TokenMalformed}, false},
	"damaged, signed":  {"any of the above", []reason.Reason{reason.TokenMalformed, reason.ClaimsInvalid, reason.TypeRefused}, true},
	"a byte":           {"bits not counted: go-jose verifies what it has decoded and encoded again", []reason.Reason{reason.TokenMalformed}, true},
}

// TestDifferential: of ten thousand tokens, damaged before their signature or
// after it, none is accepted here that go-jose refuses but for a listed reason,
// and what is refused here alone is refused for a named one. Keys, tokens and
// signatures come from -seed.
func TestDifferential(t *testing.T) {
	cryptotest.SetGlobalRandom(t, *seed)
	rng := mathrand.New(mathrand.NewPCG(*seed, 1))
	w := newWorld(t, "ES256", "ES384", "EdDSA", "PS256", "RS256")
	w.config.MaxBytes = defaultMaxBytes
	w.rebuild(t)
	m := &maker{t: t, rng: rng, idp: w.idp, stranger: extauthztest.NewIssuer(t, idpName, "ES256", "ES384", "EdDSA", "PS256", "RS256")}
	oracle := newTheir(t, w.idp.JWKS())

	both, neither, ours := 0, 0, map[string]int{}
	theirs := map[string]map[reason.Reason]int{}
	for n := range *tokens {
		d := m.draft()
		raw := d.raw()
		var s Session
		r, err := w.Verify(raw, d.at, &s), oracle.verify(raw, d.at)
		switch {
		case r == reason.OK && err == nil:
			both++
		case r != reason.OK && err != nil:
			neither++
		case r == reason.OK:
			name := d.looser
			if looser[name] == "" && oracle.withoutKid(raw, d.at) == nil {
				name = "no kid"
			}
			if looser[name] == "" {
				t.Fatalf("-seed %d, token %d (%v): accepted here, there: %v\n%s\n%s", *seed, n, d.faults, err, raw, w.idp.JWKS())
			}
			ours[name]++
		default:
			i := slices.IndexFunc(d.faults, func(f string) bool { return slices.Contains(stricter[f].ends, r) })
			if i < 0 {
				t.Errorf("-seed %d, token %d: %v for %v, which go-jose accepts and no row explains\n%s", *seed, n, r, d.faults, raw)
				continue
			}
			if theirs[d.faults[i]] == nil {
				theirs[d.faults[i]] = map[reason.Reason]int{}
			}
			theirs[d.faults[i]][r]++
		}
	}
	t.Logf("-seed %d: of %d tokens both accept %d, both refuse %d", *seed, *tokens, both, neither)
	for _, name := range slices.Sorted(maps.Keys(looser)) {
		t.Logf("accepted here alone:  %-18s %5d  %s", name, ours[name], looser[name])
		if ours[name] == 0 {
			t.Errorf("%s: no such token was accepted here alone", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(stricter)) {
		for _, r := range stricter[name].ends {
			t.Logf("accepted there alone: %-18s %5d  %-18v %s", name, theirs[name][r], r, stricter[name].why)
			if theirs[name][r] == 0 && !stricter[name].chance {
				t.Errorf("%s: no such token ended in %v here and was accepted there", name, r)
			}
		}
	}
	if *tokens >= 10_000 && (both < *tokens/5 || neither < *tokens/4) {
		t.Errorf("the damage is too heavy or too light: both accept %d, both refuse %d", both, neither)
	}
}

// TestDifferentialOneByOne: each kind of damage alone, and good tokens of
// every algorithm, so that none is hidden behind another.
func TestDifferentialOneByOne(t *testing.T) {
	cryptotest.SetGlobalRandom(t, *seed)
	w := newWorld(t, "ES256", "ES384", "EdDSA", "PS256", "RS256")
	m := &maker{t: t, rng: mathrand.New(mathrand.NewPCG(*seed, 2)), idp: w.idp, stranger: extauthztest.NewIssuer(t, idpName, "ES256", "ES384", "EdDSA", "PS256", "RS256")}
	oracle := newTheir(t, w.idp.JWKS())
	for _, kid := range kids {
		d := m.good(kid)
		if r, err := w.Verify(d.raw(), d.at, &Session{}), oracle.verify(d.raw(), d.at); r != reason.OK || err != nil {
			t.Errorf("a good token by %s: %v, there %v", kid, r, err)
		}
	}
	for _, f := range faults {
		t.Run(f.name+": "+f.what, func(t *testing.T) {
			for range 15 {
				d := m.any()
				f.do(m, d)
				raw := d.raw()
				r, err := w.Verify(raw, d.at, &Session{}), oracle.verify(raw, d.at)
				switch {
				case r == reason.OK && err != nil && looser[f.name] == "" && oracle.withoutKid(raw, d.at) != nil:
					t.Fatalf("accepted here, there: %v\n%s", err, raw)
				case r != reason.OK && err == nil && !slices.Contains(stricter[f.name].ends, r):
					t.Fatalf("%v, accepted there\n%s", r, raw)
				case r == reason.OK && f.never:
					t.Fatalf("accepted\n%s", raw)
				}
			}
		})
	}
}

// TestOracle: what go-jose is set up to refuse it refuses, so that agreeing
// with it means something.
func TestOracle(t *testing.T) {
	w := newWorld(t)
	oracle := newTheir(t, w.idp.JWKS())
	for name, raw := range map[string]string{
		"forged":                extauthztest.Forge(w.idp.Token(now)),
		"expired":               w.idp.Token(now.Add(-time.Hour)),
		"not yet valid":         w.idp.Token(now, claims{"nbf": now.Unix() + 31}),
		"issued in the future":  w.idp.Token(now.Add(time.Minute)),
		"another audience":      w.idp.Token(now, claims{"aud": "x"}),
		"another issuer":        w.idp.Token(now, claims{"iss": "x"}),
		"another issuer's key":  w.other.Token(now, claims{"iss": idpName}),
		"none":                  extauthztest.WithSignature(w.idp.Token(now, header{"alg": "none"}), nil),
		"an unknown kid":        w.idp.Token(now, header{"kid": "x"}),
		"random text":           strings.Repeat(rand.Text()+".", 2) + "x",
		"an unknown crit":       w.idp.Token(now, header{"crit": []string{"exp"}}),
		"aud of several types":  w.idp.Token(now, claims{"aud": []any{extauthztest.Audience, 1}}),
		"exp that is no number": w.idp.Token(now, claims{"exp": "1900000000"}),
	} {
		if oracle.verify(raw, now) == nil {
			t.Errorf("%s: go-jose accepts it", name)
		}
	}
	if err := oracle.verify(w.idp.Token(now), now); err != nil {
		t.Errorf("a good token: %v", err)
	}
}
