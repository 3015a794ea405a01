package jose

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// pair is a test key with the members of its JWK.
type pair struct {
	private crypto.Signer
	members map[string]any
}

// pairs are made once: RSA keys are slow to make.
var pairs = struct {
	sync.Mutex
	by map[string]*pair
}{by: map[string]*pair{}}

func keyOf(tb testing.TB, alg string) *pair {
	tb.Helper()
	pairs.Lock()
	defer pairs.Unlock()
	if p := pairs.by[alg]; p != nil {
		return p
	}
	p := &pair{}
	var err error
	switch alg {
	case "EdDSA":
		_, p.private, err = ed25519.GenerateKey(rand.Reader)
	case "RS256":
		p.private, err = rsa.GenerateKey(rand.Reader, 2048)
	default:
		p.private, err = ecdsa.GenerateKey(find(alg).curve, rand.Reader)
	}
	if err != nil {
		tb.Fatal(err)
	}
	switch k := p.private.Public().(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			tb.Fatal(err)
		}
		half := len(point) / 2
		p.members = map[string]any{"kty": "EC", "crv": k.Params().Name, "x": encode(point[1 : 1+half]), "y": encode(point[1+half:])}
	case ed25519.PublicKey:
		p.members = map[string]any{"kty": "OKP", "crv": "Ed25519", "x": encode(k)}
	case *rsa.PublicKey:
		p.members = map[string]any{"kty": "RSA", "n": encode(k.N.Bytes()), "e": "AQAB"}
	}
	pairs.by[alg] = p
	return p
}

func rsaModulus(bits int) []byte {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return n.Add(n, big.NewInt(1)).Bytes()
}

func rsaJWK(bits int, e int64) string {
	return `{"kty":"RSA","n":"` + encode(rsaModulus(bits)) + `","e":"` + encode(big.NewInt(e).Bytes()) + `"}`
}

// private gives the key that signs for an algorithm.
func private(tb testing.TB, alg string) *pair {
	if alg[0] == 'R' || alg[0] == 'P' {
		alg = "RS256"
	}
	return keyOf(tb, alg)
}

func signed(tb testing.TB, alg, header string) *JWS {
	tb.Helper()
	input := enc(header) + "." + enc(goodPayload)
	signature, err := find(alg).method.Sign(input, private(tb, alg).private)
	if err != nil {
		tb.Fatal(err)
	}
	token, err := Parse(input + "." + encode(signature))
	if err != nil {
		tb.Fatal(err)
	}
	return token
}

func mustSet(tb testing.TB, keys ...string) *KeySet {
	tb.Helper()
	set, err := ParseKeySet(setOf(keys...))
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

func TestVerifyEveryAlgorithm(t *testing.T) {
	for _, a := range algorithms {
		t.Run(a.name, func(t *testing.T) {
			set := mustSet(t, jwk(t, private(t, a.name).members, map[string]any{"kid": "k"}))
			token := signed(t, a.name, `{"alg":"`+a.name+`","kid":"k"}`)
			if kid, err := set.Verify(token); err != nil || kid != "k" {
				t.Errorf("Verify gives %q, %v", kid, err)
			}
			for _, at := range []int{0, len(token.Signature) / 2, len(token.Signature) - 1} {
				bad := *token
				bad.Signature = slices.Clone(token.Signature)
				bad.Signature[at] ^= 1
				if _, err := set.Verify(&bad); !errors.Is(err, ErrSignature) {
					t.Errorf("a bit of byte %d turned: %v", at, err)
				}
			}
			other := *token
			other.SigningInput = enc(`{"alg":"`+a.name+`","kid":"k"}`) + "." + enc(`{"iss":"other"}`)
			if _, err := set.Verify(&other); !errors.Is(err, ErrSignature) {
				t.Errorf("another payload: %v", err)
			}
		})
	}
}

func TestVerifyPicksKey(t *testing.T) {
	member := func(alg string, change map[string]any) string { return jwk(t, private(t, alg).members, change) }
	es := member("ES256", map[string]any{"kid": "es"})
	bareES, bareRS := member("ES256", nil), member("RS256", nil)
	psOnly := member("RS256", map[string]any{"kid": "rs", "alg": "PS256"})
	many := []string{bareRS}
	for range 49 {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		point, _ := k.PublicKey.Bytes()
		many = append(many, jwk(t, map[string]any{"kty": "EC", "crv": "P-256", "x": encode(point[1:33]), "y": encode(point[33:])}, nil))
	}
	for name, c := range map[string]struct {
		set    *KeySet
		alg    string // signs
		header string
		want   error
	}{
		"by kid":                            {mustSet(t, bareRS, es), "ES256", `{"alg":"ES256","kid":"es"}`, nil},
		"no kid, the only key of its alg":   {mustSet(t, bareRS, es), "ES256", `{"alg":"ES256"}`, nil},
		"no kid, a key without kid":         {mustSet(t, bareRS, bareES), "RS256", `{"alg":"RS256"}`, nil},
		"no kid, one key allowed by alg":    {mustSet(t, psOnly, member("ES256", nil)), "PS256", `{"alg":"PS256"}`, nil},
		"JK04 no kid, two keys of its alg":  {mustSet(t, many...), "ES256", `{"alg":"ES256"}`, ErrKeyUnknown},
		"JK04 no kid, 50 keys, one of RSA":  {mustSet(t, many...), "RS256", `{"alg":"RS256"}`, nil},
		"no kid, no key of its alg":         {mustSet(t, bareRS), "ES256", `{"alg":"ES256"}`, ErrKeyUnknown},
		"JA06 no kid, a key of P-384":       {mustSet(t, member("ES384", nil)), "ES256", `{"alg":"ES256"}`, ErrKeyUnknown},
		"kid unknown":                       {mustSet(t, es), "ES256", `{"alg":"ES256","kid":"ES"}`, ErrKeyUnknown},
		"kid where no key has one":          {mustSet(t, bareES), "ES256", `{"alg":"ES256","kid":"k"}`, ErrKeyUnknown},
		"kid empty where no key has one":    {mustSet(t, bareES), "ES256", `{"alg":"ES256","kid":""}`, ErrKeyUnknown},
		"JK03 kid a path":                   {mustSet(t, es), "ES256", `{"alg":"ES256","kid":"../../etc/passwd"}`, ErrKeyUnknown},
		"JK03 kid with CRLF and NUL":        {mustSet(t, es), "ES256", `{"alg":"ES256","kid":"es\r\n\u0000"}`, ErrKeyUnknown},
		"JK03 kid of 10 KB":                 {mustSet(t, es), "ES256", `{"alg":"ES256","kid":"` + strings.Repeat("k", 10_000) + `"}`, ErrKeyUnknown},
		"JA03 a key in the header":          {mustSet(t, es), "ES384", `{"alg":"ES384","kid":"mine","jwk":` + member("ES384", nil) + `}`, ErrKeyUnknown},
		"JA03 a key in the header, no kid":  {mustSet(t, es), "ES384", `{"alg":"ES384","jwk":` + member("ES384", nil) + `}`, ErrKeyUnknown},
		"JA06 ES256 with a key of P-384":    {mustSet(t, member("ES384", map[string]any{"kid": "k"})), "ES256", `{"alg":"ES256","kid":"k"}`, ErrAlgorithm},
		"JA06 ES256 with a key of P-521":    {mustSet(t, member("ES512", map[string]any{"kid": "k"})), "ES256", `{"alg":"ES256","kid":"k"}`, ErrAlgorithm},
		"JA06 EdDSA with an RSA key":        {mustSet(t, member("RS256", map[string]any{"kid": "k"})), "EdDSA", `{"alg":"EdDSA","kid":"k"}`, ErrAlgorithm},
		"JA06 RS256 with an EC key":         {mustSet(t, es), "RS256", `{"alg":"RS256","kid":"es"}`, ErrAlgorithm},
		"JA05 RS256 with a key of PS256":    {mustSet(t, psOnly), "RS256", `{"alg":"RS256","kid":"rs"}`, ErrAlgorithm},
		"JA05 no kid, a key of PS256":       {mustSet(t, psOnly), "RS256", `{"alg":"RS256"}`, ErrKeyUnknown},
		"Ed25519 and EdDSA are one":         {mustSet(t, member("EdDSA", map[string]any{"kid": "k", "alg": "Ed25519"})), "EdDSA", `{"alg":"EdDSA","kid":"k"}`, nil},
		"EdDSA and Ed25519 are one":         {mustSet(t, member("EdDSA", map[string]any{"kid": "k", "alg": "EdDSA"})), "EdDSA", `{"alg":"Ed25519","kid":"k"}`, nil},
		"JK05 another's key of the same id": {mustSet(t, jwk(t, keyOf(t, "ES256").members, map[string]any{"kid": "k"})), "ES384", `{"alg":"ES256","kid":"k"}`, ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := c.set.Verify(signed(t, c.alg, c.header)); !errors.Is(err, c.want) {
				t.Errorf("error is %v, want %v", err, c.want)
			}
		})
	}
}

// TestECDSASignatures holds JA07: what Wycheproof tries on ES256 signatures.
func TestECDSASignatures(t *testing.T) {
	key := keyOf(t, "ES256").private.(*ecdsa.PrivateKey)
	set := mustSet(t, jwk(t, keyOf(t, "ES256").members, map[string]any{"kid": "k"}))
	token := signed(t, "ES256", `{"alg":"ES256","kid":"k"}`)
	sum := sha256.Sum256([]byte(token.SigningInput))
	n := elliptic.P256().Params().N
	r, s := new(big.Int).SetBytes(token.Signature[:32]), new(big.Int).SetBytes(token.Signature[32:])
	der, err := ecdsa.SignASN1(rand.Reader, key, sum[:])
	if err != nil {
		t.Fatal(err)
	}
	p1363 := func(r, s *big.Int) []byte {
		out := make([]byte, 64)
		r.FillBytes(out[:32])
		s.FillBytes(out[32:])
		return out
	}
	der2, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		t.Fatal(err)
	}
	zero, one, ones := new(big.Int), big.NewInt(1), new(big.Int).SetBytes(slices.Repeat([]byte{0xff}, 32))
	for name, signature := range map[string][]byte{
		"r 0":              p1363(zero, s),
		"s 0":              p1363(r, zero),
		"both 0":           p1363(zero, zero),
		"both 1":           p1363(one, one),
		"r n":              p1363(n, s),
		"s n":              p1363(r, n),
		"both n":           p1363(n, n),
		"r 0, s n":         p1363(zero, n),
		"r n-1":            p1363(new(big.Int).Sub(n, one), s),
		"s n+1":            p1363(r, new(big.Int).Add(n, one)),
		"all ones":         p1363(ones, ones),
		"r and s swapped":  p1363(s, r),
		"r turned":         p1363(new(big.Int).Sub(n, r), s),
		"DER":              der,
		"DER of the same":  der2,
		"one byte short":   token.Signature[:63],
		"one byte long":    append(slices.Clone(token.Signature), 0),
		"zero in front":    append([]byte{0}, token.Signature...),
		"of P-384's size":  make([]byte, 96),
		"r alone":          token.Signature[:32],
		"one byte":         {1},
		"the sum itself":   sum[:],
		"the text of nils": []byte(strings.Repeat("\x00", 64)),
	} {
		t.Run(name, func(t *testing.T) {
			bad := *token
			bad.Signature = signature
			if _, err := set.Verify(&bad); !errors.Is(err, ErrSignature) {
				t.Errorf("error is %v", err)
			}
		})
	}
	// RV01: (r, n-s) verifies, by the mathematics. Revocation goes by the
	// signing input, which is the same.
	twin := *token
	twin.Signature = p1363(r, new(big.Int).Sub(n, s))
	if _, err := set.Verify(&twin); err != nil {
		t.Errorf("(r, n-s): %v", err)
	}
}

func TestEd25519Signatures(t *testing.T) {
	set := mustSet(t, jwk(t, keyOf(t, "EdDSA").members, map[string]any{"kid": "k"}))
	token := signed(t, "EdDSA", `{"alg":"EdDSA","kid":"k"}`)
	// s + L: the same signature to whoever does not check s < L (RFC 8032, 5.1.7).
	order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	s := slices.Clone(token.Signature[32:])
	slices.Reverse(s)
	plus := new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
	slices.Reverse(plus)
	for name, signature := range map[string][]byte{
		"s + L":     append(slices.Clone(token.Signature[:32]), plus...),
		"s 0":       append(slices.Clone(token.Signature[:32]), make([]byte, 32)...),
		"all 0":     make([]byte, 64),
		"too short": token.Signature[:63],
		"too long":  append(slices.Clone(token.Signature), 0),
		"swapped":   append(slices.Clone(token.Signature[32:]), token.Signature[:32]...),
	} {
		bad := *token
		bad.Signature = signature
		if _, err := set.Verify(&bad); !errors.Is(err, ErrSignature) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}

// TestRSASignatures holds JA13 and the rest of what is tried on RSA.
func TestRSASignatures(t *testing.T) {
	key := keyOf(t, "RS256").private.(*rsa.PrivateKey)
	set := mustSet(t, jwk(t, keyOf(t, "RS256").members, map[string]any{"kid": "k"}))
	ps, rs := signed(t, "PS256", `{"alg":"PS256","kid":"k"}`), signed(t, "RS256", `{"alg":"RS256","kid":"k"}`)
	salted := func(token *JWS, length int) []byte {
		sum := sha256.Sum256([]byte(token.SigningInput))
		out, err := rsa.SignPSS(rand.Reader, key, crypto.SHA256, sum[:], &rsa.PSSOptions{SaltLength: length})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	size := key.Size()
	raw := func(block []byte) []byte {
		return new(big.Int).Exp(new(big.Int).SetBytes(block), key.D, key.N).FillBytes(make([]byte, size))
	}
	hash := sha256.Sum256([]byte(rs.SigningInput))
	for name, c := range map[string]struct {
		token     *JWS
		signature []byte
	}{
		"JA13 salt of 20":                {ps, salted(ps, 20)},
		"JA13 salt of 31":                {ps, salted(ps, 31)},
		"JA13 salt of 64":                {ps, salted(ps, 64)},
		"JA13 salt as long as it goes":   {ps, salted(ps, rsa.PSSSaltLengthAuto)},
		"PS256 token, RS256 signature":   {ps, rs.Signature},
		"RS256 token, PS256 signature":   {rs, salted(rs, 32)},
		"0":                              {rs, make([]byte, size)},
		"1":                              {rs, append(make([]byte, size-1), 1)},
		"the modulus":                    {rs, key.N.Bytes()},
		"the modulus less one":           {rs, new(big.Int).Sub(key.N, big.NewInt(1)).Bytes()},
		"plus the modulus":               {rs, new(big.Int).Add(new(big.Int).SetBytes(rs.Signature), key.N).Bytes()},
		"too short":                      {rs, rs.Signature[1:]},
		"too long":                       {rs, append([]byte{0}, rs.Signature...)},
		"padded by a zero at the end":    {rs, append(slices.Clone(rs.Signature), 0)},
		"the hash without its name":      {rs, raw(slices.Concat([]byte{0, 1}, slices.Repeat([]byte{0xff}, size-35), []byte{0}, hash[:]))},
		"short padding and bytes behind": {rs, raw(slices.Concat([]byte{0, 1}, slices.Repeat([]byte{0xff}, 8), []byte{0}, hash[:], make([]byte, size-43)))},
	} {
		t.Run(name, func(t *testing.T) {
			bad := *c.token
			bad.Signature = c.signature
			if _, err := set.Verify(&bad); !errors.Is(err, ErrSignature) {
				t.Errorf("error is %v", err)
			}
		})
	}
	good := *ps
	good.Signature = salted(ps, 32)
	if _, err := set.Verify(&good); err != nil {
		t.Errorf("salt of 32: %v", err)
	}
}

// The library's own PS256 takes any salt; the day it does not, ours may go.
func TestLibraryTakesAnySalt(t *testing.T) {
	if jwt.SigningMethodPS256.VerifyOptions == nil || jwt.SigningMethodPS256.VerifyOptions.SaltLength != rsa.PSSSaltLengthAuto {
		t.Error("golang-jwt checks the salt now: alg.go can use its methods as they are")
	}
}

func TestThumbprintOfNothing(t *testing.T) {
	if got := Thumbprint("no key"); got != "" {
		t.Errorf("thumbprint %q", got)
	}
}
