package jose

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// jwk writes a JWK with some members changed; nil takes one out.
func jwk(t testing.TB, base map[string]any, change map[string]any) string {
	t.Helper()
	members := maps.Clone(base)
	for name, v := range change {
		if members[name] = v; v == nil {
			delete(members, name)
		}
	}
	doc, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	return string(doc)
}

func setOf(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func TestParseKeyRefuses(t *testing.T) {
	es, rs, ed := keyOf(t, "ES256").members, keyOf(t, "RS256").members, keyOf(t, "EdDSA").members
	b64 := func(b []byte) string { return encode(b) }
	y := es["y"].(string)
	for name, doc := range map[string]string{
		"JA14 oct":                       `{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMko"}`,
		"JA14 oct without its value":     `{"kty":"oct","alg":"HS256"}`,
		"JK11 private EC":                jwk(t, es, map[string]any{"d": "AAAA"}),
		"JK11 private RSA":               jwk(t, rs, map[string]any{"d": "AAAA"}),
		"JK11 RSA primes alone":          jwk(t, rs, map[string]any{"p": "AAAA", "q": "AAAA"}),
		"JK11 RSA qi":                    jwk(t, rs, map[string]any{"qi": "AAAA"}),
		"JK11 RSA more primes":           jwk(t, rs, map[string]any{"oth": []any{}}),
		"JK11 private Ed25519":           jwk(t, ed, map[string]any{"d": "AAAA"}),
		"JK11 use enc":                   jwk(t, es, map[string]any{"use": "enc"}),
		"JK11 use no string":             jwk(t, es, map[string]any{"use": []string{"sig"}}),
		"JK11 use in another case":       jwk(t, es, map[string]any{"use": "SIG"}),
		"JK11 key_ops sign":              jwk(t, es, map[string]any{"key_ops": []string{"sign"}}),
		"JK11 key_ops empty":             jwk(t, es, map[string]any{"key_ops": []string{}}),
		"JK11 key_ops no array":          jwk(t, es, map[string]any{"key_ops": "verify"}),
		"JK11 key_ops of no strings":     jwk(t, es, map[string]any{"key_ops": []any{1, true}}),
		"JA06 secp256k1":                 jwk(t, es, map[string]any{"crv": "secp256k1"}),
		"JA06 P-224":                     jwk(t, es, map[string]any{"crv": "P-224"}),
		"JA06 alg of another curve":      jwk(t, es, map[string]any{"alg": "ES384"}),
		"JA06 alg of another type":       jwk(t, rs, map[string]any{"alg": "ES256"}),
		"JA06 Ed25519 with RS256":        jwk(t, ed, map[string]any{"alg": "RS256"}),
		"alg for encryption":             jwk(t, rs, map[string]any{"alg": "RSA-OAEP"}),
		"alg HS256 on an RSA key":        jwk(t, rs, map[string]any{"alg": "HS256"}),
		"alg no string":                  jwk(t, es, map[string]any{"alg": 1}),
		"kid no string":                  jwk(t, es, map[string]any{"kid": 1}),
		"kty missing":                    jwk(t, es, map[string]any{"kty": nil}),
		"kty no string":                  jwk(t, es, map[string]any{"kty": 1}),
		"kty unknown":                    jwk(t, es, map[string]any{"kty": "AKP"}),
		"kty in another case":            jwk(t, es, map[string]any{"kty": "ec"}),
		"EC without y":                   jwk(t, es, map[string]any{"y": nil}),
		"EC x no string":                 jwk(t, es, map[string]any{"x": 7}),
		"EC point off the curve":         jwk(t, es, map[string]any{"x": es["y"]}),
		"EC point at infinity":           jwk(t, es, map[string]any{"x": b64(make([]byte, 32)), "y": b64(make([]byte, 32))}),
		"EC coordinate beyond the field": jwk(t, es, map[string]any{"x": b64(slices.Repeat([]byte{0xff}, 32))}),
		"EC short coordinate":            jwk(t, es, map[string]any{"x": b64(make([]byte, 31))}),
		"EC long coordinate":             jwk(t, es, map[string]any{"x": b64(make([]byte, 33))}),
		"EC padded coordinate":           jwk(t, es, map[string]any{"y": y + "="}),
		"EC coordinate with a line end":  jwk(t, es, map[string]any{"y": y[:4] + "\n" + y[4:]}),
		"JA08 RSA 1024":                  rsaJWK(1024, 65537),
		"JA08 RSA 2047":                  rsaJWK(2047, 65537),
		"JA08 RSA 4097":                  rsaJWK(4097, 65537),
		"JA08 RSA 16384":                 rsaJWK(16384, 65537),
		"JA08 RSA e 1":                   rsaJWK(2048, 1),
		"JA08 RSA e 2":                   rsaJWK(2048, 2),
		"JA08 RSA e even":                rsaJWK(2048, 65536),
		"JA08 RSA e 0":                   `{"kty":"RSA","n":"` + b64(rsaModulus(2048)) + `","e":"AA"}`,
		"JA08 RSA e of 33 bits":          rsaJWK(2048, 1<<32+1),
		"RSA n even":                     `{"kty":"RSA","n":"` + b64(new(big.Int).Lsh(big.NewInt(1), 2047).Bytes()) + `","e":"AQAB"}`,
		"RSA n with a leading zero":      `{"kty":"RSA","n":"` + b64(append([]byte{0}, rsaModulus(2048)...)) + `","e":"AQAB"}`,
		"RSA e with a leading zero":      jwk(t, rs, map[string]any{"e": "AAEAAQ"}),
		"RSA e missing":                  jwk(t, rs, map[string]any{"e": nil}),
		"RSA n empty":                    jwk(t, rs, map[string]any{"n": ""}),
		"OKP X25519":                     jwk(t, ed, map[string]any{"crv": "X25519"}),
		"OKP Ed448":                      jwk(t, ed, map[string]any{"crv": "Ed448"}),
		"OKP without crv":                jwk(t, ed, map[string]any{"crv": nil}),
		"OKP of 31 bytes":                jwk(t, ed, map[string]any{"x": b64(make([]byte, 31))}),
		"OKP without x":                  jwk(t, ed, map[string]any{"x": nil}),
	} {
		t.Run(name, func(t *testing.T) {
			obj, err := ParseObject([]byte(doc))
			if err != nil {
				t.Fatal(err)
			}
			if key, err := ParseKey(obj); err == nil {
				t.Errorf("accepted as %+v", key)
			}
			if _, err := ParseKeySet(setOf(doc)); err == nil {
				t.Error("a set of nothing else is accepted")
			}
			// Beside a good key it is left out and does no harm.
			set, err := ParseKeySet(setOf(doc, jwk(t, keyOf(t, "ES384").members, map[string]any{"kid": "good"})))
			if err != nil || len(set.Keys()) != 1 || set.Keys()[0].ID != "good" {
				t.Errorf("beside a good key: %v", err)
			}
		})
	}
}

func TestParseKeyAccepts(t *testing.T) {
	es, rs, ed := keyOf(t, "ES256").members, keyOf(t, "RS256").members, keyOf(t, "EdDSA").members
	for name, doc := range map[string]string{
		"bare":                       jwk(t, es, nil),
		"use and key_ops":            jwk(t, es, map[string]any{"use": "sig", "key_ops": []string{"sign", "verify"}}),
		"certificates beside it":     jwk(t, rs, map[string]any{"x5c": []string{"MII"}, "x5t": "x", "x5u": "http://other.example"}),
		"members nobody knows":       jwk(t, ed, map[string]any{"nbf": 1, "status": map[string]any{}}),
		"RSA e 3":                    rsaJWK(2048, 3),
		"RSA 4096":                   rsaJWK(4096, 65537),
		"alg Ed25519":                jwk(t, ed, map[string]any{"alg": "Ed25519"}),
		"RS512 on any RSA key":       jwk(t, rs, map[string]any{"alg": "RS512"}),
		"private names in other use": jwk(t, es, map[string]any{"D": "x"}),
	} {
		obj, err := ParseObject([]byte(doc))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseKey(obj); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestParseKeySetRefuses(t *testing.T) {
	es := func(kid string) string { return jwk(t, keyOf(t, "ES256").members, map[string]any{"kid": kid}) }
	many := func(n int) []byte {
		var keys []string
		for i := range n {
			keys = append(keys, es(fmt.Sprint("k", i)))
		}
		return setOf(keys...)
	}
	for name, doc := range map[string][]byte{
		"JK06 two keys with one kid":           setOf(es("a"), es("b"), es("a")),
		"JK06 one kid, one of them escaped":    setOf(es("a"), strings.Replace(es("a"), `"kid":"a"`, `"kid":"\u0061"`, 1)),
		"JK06 one kid, one key for encryption": setOf(es("a"), jwk(t, keyOf(t, "RS256").members, map[string]any{"kid": "a", "use": "enc"})),
		"JK06 keys twice":                      []byte(`{"keys":[` + es("a") + `],"keys":[` + es("b") + `]}`),
		"JK06 keys twice, one escaped":         []byte(`{"keys":[` + es("a") + `],"\u006beys":[` + es("b") + `]}`),
		"JK06 a member of a key twice":         setOf(strings.Replace(es("a"), `"kid"`, `"kid":"b","kid"`, 1)),
		"JK09 65 keys":                         many(65),
		"JK09 more than 1 MiB":                 []byte(`{"x":"` + strings.Repeat("x", 1<<20) + `",` + string(setOf(es("a")))[1:]),
		"JK10 {}":                              []byte(`{}`),
		"JK10 no keys":                         []byte(`{"keys":[]}`),
		"JK10 keys null":                       []byte(`{"keys":null}`),
		"JK10 keys an object":                  []byte(`{"keys":{}}`),
		"JK10 keys of another name":            []byte(strings.Replace(string(setOf(es("a"))), "keys", "Keys", 1)),
		"JK10 HTML":                            []byte(`<html><body>503</body></html>`),
		"JK10 an error document":               []byte(`{"error":"temporarily_unavailable"}`),
		"JK10 nothing":                         {},
		"JK10 one key instead of a set":        []byte(es("a")),
		"JK10 an array":                        []byte(`[` + es("a") + `]`),
		"a key that is no object":              setOf(es("a"), `"k"`),
		"nested too deep":                      setOf(es("a"), `{"kty":"EC","x":`+nested("[", "", "]", 20)+`}`),
		"invalid UTF-8":                        setOf(es("a"), "{\"kty\":\"\xff\"}"),
		"bytes after the set":                  append(setOf(es("a")), "x"...),
	} {
		t.Run(name, func(t *testing.T) {
			if set, err := ParseKeySet(doc); err == nil {
				t.Errorf("accepted with keys %v", set.Keys())
			}
		})
	}
	if set, err := ParseKeySet(many(64)); err != nil || len(set.Keys()) != 64 {
		t.Errorf("64 keys: %v", err)
	}
}

func TestKeySetID(t *testing.T) {
	es, rs := keyOf(t, "ES256").members, keyOf(t, "RS256").members
	id := func(keys ...string) [16]byte {
		set, err := ParseKeySet(setOf(keys...))
		if err != nil {
			t.Fatal(err)
		}
		return set.ID()
	}
	a, b := jwk(t, es, map[string]any{"kid": "a"}), jwk(t, rs, map[string]any{"kid": "b"})
	base := id(a, b)
	for name, same := range map[string][16]byte{
		"another order":             id(b, a),
		"a dropped key beside them": id(a, `{"kty":"oct","k":"AAAA"}`, b),
		"members that do not count": id(jwk(t, es, map[string]any{"kid": "a", "use": "sig", "x5u": "u"}), b),
	} {
		if same != base {
			t.Errorf("%s changes the id", name)
		}
	}
	for name, other := range map[string][16]byte{
		"a key less":     id(a),
		"another kid":    id(jwk(t, es, map[string]any{"kid": "c"}), b),
		"no kid":         id(jwk(t, es, map[string]any{"kid": nil}), b),
		"an empty kid":   id(jwk(t, es, map[string]any{"kid": ""}), b),
		"another alg":    id(a, jwk(t, rs, map[string]any{"kid": "b", "alg": "PS256"})),
		"kids swapped":   id(jwk(t, es, map[string]any{"kid": "b"}), jwk(t, rs, map[string]any{"kid": "a"})),
		"alg in its kid": id(a, jwk(t, rs, map[string]any{"kid": "bPS256"})),
	} {
		if other == base {
			t.Errorf("%s keeps the id", name)
		}
	}
	if id(jwk(t, es, map[string]any{"kid": nil}), b) == id(jwk(t, es, map[string]any{"kid": ""}), b) {
		t.Error("an empty kid and none are the same")
	}
}

// TestLowOrderList proves the list: each y belongs to a point whose order
// divides 8, and with the signs of x these are all eight.
func TestLowOrderList(t *testing.T) {
	p := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 255), big.NewInt(19))
	d := new(big.Int).Mul(big.NewInt(-121665), new(big.Int).ModInverse(big.NewInt(121666), p))
	mul := func(a, b *big.Int) *big.Int { return new(big.Int).Mod(new(big.Int).Mul(a, b), p) }
	add := func(a, b *big.Int) *big.Int { return new(big.Int).Mod(new(big.Int).Add(a, b), p) }
	one := big.NewInt(1)
	points := map[string]bool{}
	for _, little := range smallY {
		big0 := slices.Clone(little[:])
		slices.Reverse(big0)
		y := new(big.Int).Mod(new(big.Int).SetBytes(big0), p)
		// x^2 = (y^2-1)/(d*y^2+1)
		yy := mul(y, y)
		xx := mul(add(yy, big.NewInt(-1)), new(big.Int).ModInverse(add(mul(d, yy), one), p))
		x := new(big.Int).ModSqrt(xx, p)
		if x == nil {
			t.Fatalf("y %x is on no point", little)
		}
		for _, x := range []*big.Int{x, new(big.Int).Mod(new(big.Int).Neg(x), p)} {
			points[x.String()+","+y.String()] = true
			px, py := x, y
			for range 3 { // double: the curve's a is -1
				k := mul(d, mul(mul(px, px), mul(py, py)))
				nx := mul(mul(big.NewInt(2), mul(px, py)), new(big.Int).ModInverse(add(one, k), p))
				ny := mul(add(mul(py, py), mul(px, px)), new(big.Int).ModInverse(add(one, new(big.Int).Neg(k)), p))
				px, py = nx, ny
			}
			if px.Sign() != 0 || py.Cmp(one) != 0 {
				t.Errorf("8 times the point of y %x is not neutral", little)
			}
		}
	}
	if len(points) != 8 {
		t.Errorf("the list has %d points of small order, not 8", len(points))
	}
}

// JA08: with the neutral point as a key one signature fits every message. The
// standard library accepts it; the key never gets that far.
func TestLowOrderKeyVerifiesAnything(t *testing.T) {
	key := make(ed25519.PublicKey, 32)
	key[0] = 1
	signature := make([]byte, 64)
	signature[0] = 1
	if !ed25519.Verify(key, []byte("anything"), signature) {
		t.Log("crypto/ed25519 refuses it by itself now")
	}
	for _, y := range smallY {
		for _, sign := range []byte{0, 0x80} {
			x := slices.Clone(y[:])
			x[31] |= sign
			if _, err := ParseKeySet(setOf(`{"kty":"OKP","crv":"Ed25519","x":"` + encode(x) + `"}`)); err == nil {
				t.Errorf("low-order key %x is accepted", x)
			}
		}
	}
}

// FuzzJWK: a key that is accepted has one thumbprint and survives being
// written again.
func FuzzJWK(f *testing.F) {
	for _, alg := range []string{"ES256", "ES384", "EdDSA", "RS256"} {
		f.Add(setOf(jwk(f, keyOf(f, alg).members, map[string]any{"kid": "k", "use": "sig"})))
	}
	f.Add([]byte(`{"keys":[{"kty":"oct","k":"AAAA"}]}`))
	f.Add([]byte(`{"keys":[],"keys":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		set, err := ParseKeySet(doc)
		if err != nil {
			return
		}
		keys := set.Keys()
		if len(keys) == 0 || len(keys) > MaxKeys || len(doc) > MaxKeySetBytes {
			t.Fatalf("a set of %d keys from %d bytes", len(keys), len(doc))
		}
		for _, k := range keys {
			if thumb := Thumbprint(k.Public); len(thumb) != 43 {
				t.Errorf("thumbprint %q", thumb)
			}
			served := 0
			for i := range algorithms {
				if k.serves(algorithms[i].name) {
					served++
				}
			}
			if served == 0 || k.Alg != "" && served != 1 {
				t.Errorf("key %+v serves %d algorithms", k, served)
			}
		}
	})
}
