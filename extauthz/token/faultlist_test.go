package token

import (
	"crypto"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

// fault is one way to damage a token. Its name is the row of looser or stricter
// that may explain why one side alone refuses; "" is none: both must agree.
type fault struct {
	name, what string
	never      bool // we accept none of these
	do         func(m *maker, d *draft)
}

// inHeader and inClaims put one of these values.
func inHeader(name string, values ...string) func(*maker, *draft) {
	return func(m *maker, d *draft) { set(&d.header, name, pick(m, values...)) }
}

func inClaims(name string, values ...string) func(*maker, *draft) {
	return func(m *maker, d *draft) { set(&d.claims, name, pick(m, values...)) }
}

// onText damages the signed text.
func onText(do func(m *maker, raw string) string) func(*maker, *draft) {
	return func(m *maker, d *draft) {
		before := d.text
		d.text = func(raw string) string {
			if before != nil {
				raw = before(raw)
			}
			return do(m, raw)
		}
	}
}

func signedBy(sign func(m *maker, d *draft, input string) []byte) func(*maker, *draft) {
	return func(m *maker, d *draft) { d.sign = func(input string) []byte { return sign(m, d, input) } }
}

var faults = []fault{
	{"typ", "another typ", true, inHeader("typ", `"JWT"`, `"jwt"`, `"dpop+jwt"`, `"logout+jwt"`, `"secevent+jwt"`, `""`, `"at+jwt "`, `"application/x/at+jwt"`, `"at+jwt;a=b"`, `1`, `null`, `["at+jwt"]`)},
	{"typ", "no typ", true, func(_ *maker, d *draft) { drop(&d.header, "typ") }},
	{"", "typ as a media type", false, inHeader("typ", `"at+JWT"`, `"AT+JWT"`, `"application/at+jwt"`, `"Application/AT+JWT"`, `"\u0061t+jwt"`)},
	{"", "another alg", true, func(m *maker, d *draft) {
		set(&d.header, "alg", pick(m, `"none"`, `"None"`, `"nOnE"`, `""`, `"HS256"`, `"HS384"`, `"es256"`, `"ES256 "`, `"ES512"`, `"RS512"`, `"ES256K"`, `"dir"`, `null`, `1`, `["ES256"]`))
	}},
	{"", "alg of another key", false, func(m *maker, d *draft) {
		set(&d.header, "alg", quote(algOf(kids[m.rng.IntN(len(kids))])))
	}},
	{"", "no alg", true, func(_ *maker, d *draft) { drop(&d.header, "alg") }},
	{"alg Ed25519", "EdDSA by its other name", false, func(_ *maker, d *draft) {
		d.kid = "eddsa-1"
		set(&d.header, "kid", `"eddsa-1"`)
		set(&d.header, "alg", `"Ed25519"`)
	}},
	{"key of one alg", "PS256 by the key of RS256", true, func(m *maker, d *draft) {
		set(&d.header, "kid", `"rs256-1"`)
		set(&d.header, "alg", `"PS256"`)
		d.sign = func(input string) []byte {
			h := crypto.SHA256.New()
			h.Write([]byte(input))
			signature, err := m.pss(m.idp.Signer("rs256-1"), h.Sum(nil), 32)
			if err != nil {
				m.t.Fatal(err)
			}
			return signature
		}
	}},
	{"PSS salt", "a salt of another length", true, func(m *maker, d *draft) {
		set(&d.header, "kid", `"ps256-1"`)
		set(&d.header, "alg", `"PS256"`)
		salt := pick(m, 1, 20, 31, 33, 64)
		d.sign = func(input string) []byte {
			h := crypto.SHA256.New()
			h.Write([]byte(input))
			signature, err := m.pss(m.idp.Signer("ps256-1"), h.Sum(nil), salt)
			if err != nil {
				m.t.Fatal(err)
			}
			return signature
		}
	}},
	{"no kid", "no kid", false, func(_ *maker, d *draft) { drop(&d.header, "kid") }},
	{"", "another kid", true, inHeader("kid", `"mine"`, `""`, `"ES256-1"`, `"es256-1 "`, `"../es256-1"`, `1`, `null`, `["es256-1"]`)},
	{"", "the kid of another key", false, func(m *maker, d *draft) { set(&d.header, "kid", quote(kids[m.rng.IntN(len(kids))])) }},
	{"", "kid escaped", false, func(m *maker, d *draft) { set(&d.header, "kid", escaped(m, quote(d.kid))) }},
	{"", "header members that say nothing", false, func(m *maker, d *draft) {
		one := pick(m, member{"cty", `"JWT"`}, member{"jku", `"https://evil.example/jwks"`}, member{"x5u", `"https://evil.example/x"`}, member{"x", `{"a":[1,{"b":null}]}`},
			member{"ALG", `"none"`}, member{"Kid", `"mine"`}, member{"TYP", `"JWT"`}, member{"Crit", `["x"]`})
		set(&d.header, one.name, one.value)
	}},
	{"header unread", "keys of the token's own, whole and broken", false, func(m *maker, d *draft) {
		one := pick(m, member{"jwk", quote(extauthztest.JWK(m.stranger.Signer("es256-1").Public()))}, member{"jwk", `{"kty":"EC"}`}, member{"jwk", `"x"`}, member{"x5c", `["MII"]`}, member{"x5c", `1`}, member{"nonce", `1`})
		set(&d.header, one.name, one.value)
	}},
	{"", "the jwk that signed", true, func(m *maker, d *draft) {
		d.sign = func(input string) []byte { return m.signed(m.stranger, d.kid, input) }
		set(&d.header, "jwk", quote(extauthztest.JWK(m.stranger.Signer(d.kid).Public())))
	}},
	{"crit, b64, zip", "an extension", true, func(m *maker, d *draft) {
		one := pick(m, member{"crit", `["exp"]`}, member{"crit", `[]`}, member{"crit", `"exp"`}, member{"crit", `null`}, member{"crit", `["b64"]`}, member{"b64", `true`}, member{"b64", `false`}, member{"zip", `"DEF"`})
		set(&d.header, one.name, one.value)
		if one.value == `["b64"]` {
			set(&d.header, "b64", `true`)
		}
	}},
	{"member twice", "in the header", true, func(m *maker, d *draft) {
		again := d.header[m.rng.IntN(len(d.header))]
		again.value = pick(m, again.value, `"none"`, `null`)
		again.name = pick(m, again.name, escaped(m, again.name))
		d.header = append(d.header, again)
	}},
	{"member twice", "in the payload", true, func(m *maker, d *draft) {
		again := d.claims[m.rng.IntN(len(d.claims))]
		again.value = pick(m, again.value, `"root"`, `null`, `1900000000`)
		again.name = pick(m, again.name, escaped(m, again.name))
		d.claims = append(d.claims, again)
	}},
	{"member twice", "further down", true, inClaims("x", `{"a":1,"a":2}`, `[{"a":1,"\u0061":2}]`)},

	{"claim missing", "one of them", false, func(m *maker, d *draft) { drop(&d.claims, pick(m, "iss", "aud", "iat", "exp", "jti", "acr")) }},
	{"claim missing", "who it is of", true, func(_ *maker, d *draft) { drop(&d.claims, "sub"); drop(&d.claims, "sid") }},
	{"claim missing", "in another case", false, func(m *maker, d *draft) {
		i := m.rng.IntN(len(d.claims))
		d.claims[i].name = strings.ToUpper(d.claims[i].name)
	}},
	{"", "another case beside it", false, func(m *maker, d *draft) {
		one := d.claims[m.rng.IntN(len(d.claims))]
		d.claims = append(d.claims, member{strings.ToUpper(one.name), `"root"`})
	}},
	{"claim of a type", "another one", false, func(m *maker, d *draft) {
		d.claims[m.rng.IntN(len(d.claims))].value = pick(m, `null`, `true`, `1`, `"1"`, `""`, `[]`, `{}`, `[1]`, `["a"]`, `1.5`, `-1`, `"1900000000"`)
	}},
	{"claim added", "another kind of token", true, inClaims("events", `{}`, `{"x":{}}`, `null`)},
	{"claim added", "that has to be of a type", false, func(m *maker, d *draft) {
		one := pick(m, member{"azp", `1`}, member{"tenant", `[]`}, member{"device_id", `{}`}, member{"nbf", `"1"`}, member{"nbf", `null`}, member{"cnf", `1`}, member{"cnf", `{"jkt":"x"}`},
			member{"cnf", `{"x5t#S256":"bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}`}, member{"cnf", `{"kid":"k"}`})
		set(&d.claims, one.name, one.value)
	}},
	{"", "claims nobody reads", false, inClaims("x", `1`, `null`, `"é"`, `{"a":{"b":[1,2,{"c":"d"}]}}`, `[true,false]`, `"\ud83d\ude00"`, `-0.0e-7`)},
	{"", "a name escaped", false, func(m *maker, d *draft) {
		i := m.rng.IntN(len(d.claims))
		d.claims[i].name = escaped(m, d.claims[i].name)
	}},
	{"", "a value escaped", false, func(m *maker, d *draft) {
		i := m.rng.IntN(len(d.claims))
		d.claims[i].value = escaped(m, d.claims[i].value)
	}},
	{"", "exp around now", false, func(m *maker, d *draft) {
		set(&d.claims, "exp", fmt.Sprint(now.Unix()+pick[int64](m, -3600, -32, -31, -30, -29, -1, 0, 1, 29, 31)))
	}},
	{"", "nbf around now", false, func(m *maker, d *draft) {
		set(&d.claims, "nbf", fmt.Sprint(now.Unix()+pick[int64](m, -3600, -31, -1, 0, 1, 29, 30, 31, 32, 3600)))
	}},
	{"", "iat around now", false, func(m *maker, d *draft) {
		set(&d.claims, "iat", fmt.Sprint(now.Unix()+pick[int64](m, -3600, -31, -1, 0, 1, 29, 30, 31, 32, 3600)))
	}},
	{"moment of exp", "at a whole second", false, func(m *maker, d *draft) {
		d.at = time.Unix(now.Unix()+300+pick[int64](m, 28, 29, 30, 31), 0)
	}},
	{"odd date", "exp, iat, nbf", false, func(m *maker, d *draft) {
		value := pick(m, "1800000060.5", "1.80000006e9", "1800000060.0", "18000000600E-1", "253402300799", "253402300800", "9007199254740993", "1e15", "1e300", "1e400",
			"9223372036854775807", "9223372036854775808", "18446744073709551676", "-1", "-0", "0", "01800000060", "+1800000060", "0x6B49D23C", "NaN", "1"+strings.Repeat("0", 100))
		set(&d.claims, pick(m, "exp", "exp", "iat", "nbf"), value)
	}},
	{"", "another audience", true, inClaims("aud", `"https://evil.example"`, `"https://api.example/"`, `"HTTPS://API.EXAMPLE"`, `"https://api"`, `" https://api.example"`, `[]`, `["x","y"]`, `""`, `null`, `1`, `{}`, `["https://api.example",1]`, `[["https://api.example"]]`, `"x https://api.example"`)},
	{"", "an audience in a list", false, inClaims("aud", `["https://api.example"]`, `["x","https://api.example"]`, `["https://api.example","https://api.example"]`, `["https:\/\/api.example"]`, `"https://first.example"`)},
	{"", "another issuer", true, inClaims("iss", `"https://idp.example/"`, `"https://IDP.example"`, `"https://nobody.example"`, `""`, `null`, `1`, `["https://idp.example"]`, `"https://idp.example\u0000"`, `"https://other.example"`)},
	{"no Unicode", "in a string", true, inClaims("x", "\"\xff\"", "\"\xc0\xaf\"", "\"\xed\xa0\x80\"", `"\ud800"`, `"\udc00\ud800"`, `"\ud800x"`)},
	{"no Unicode", "in the subject", true, inClaims("sub", "\"a\xff\"", `"a\ud800"`)},
	{"deep or long", "a claim", true, func(m *maker, d *draft) {
		deep := m.rng.IntN(40) + 17
		set(&d.claims, pick(m, "x", "sub"), pick(m, `"`+strings.Repeat("s", 4097)+`"`, `"`+strings.Repeat("s", 9000)+`"`))
		set(&d.claims, "y", strings.Repeat("[", deep)+strings.Repeat("]", deep))
	}},
	{"deep or long", "a subject", true, inClaims("sub", `"`+strings.Repeat("s", 4097)+`"`)},
	{"deep or long", "the token", true, inClaims("x", `"`+strings.Repeat("s", 9000)+`"`)},
	{"", "white space between members", false, func(m *maker, d *draft) {
		d.claims[m.rng.IntN(len(d.claims))].value += pick(m, " ", "\t\n", "\r\n ")
		d.header[m.rng.IntN(len(d.header))].name += " "
	}},
	{"", "bytes after the JSON, or before", true, func(m *maker, d *draft) {
		extra := pick(m, "{}", "x", "\x00", "]", ",")
		front := m.rng.IntN(2) == 0
		d.json = func(_, payload *string) {
			if *payload += extra; front {
				*payload = extra + strings.TrimSuffix(*payload, extra)
			}
		}
	}},
	{"", "a payload that is no object", true, func(m *maker, d *draft) {
		other := pick(m, "null", "[]", "1", `"x"`, "", "{", "\ufeff{}")
		d.json = func(_, payload *string) { *payload = other }
	}},
	{"damaged, signed", "payload", false, func(m *maker, d *draft) { d.json = func(_, payload *string) { *payload = damaged(m, *payload) } }},
	{"damaged, signed", "header", false, func(m *maker, d *draft) { d.json = func(header, _ *string) { *header = damaged(m, *header) } }},

	{"", "another issuer's key", true, signedBy(func(m *maker, d *draft, input string) []byte { return m.signed(m.stranger, d.kid, input) })},
	{"", "HMAC with a public key", true, func(m *maker, d *draft) {
		set(&d.header, "alg", pick(m, `"HS256"`, `"HS256"`, `"RS256"`, `"ES256"`))
		d.sign = m.hmac
	}},
	{"", "unsigned", true, func(m *maker, d *draft) {
		set(&d.header, "alg", pick(m, `"none"`, `"none"`, `""`, `"ES256"`))
		d.sign = func(string) []byte { return nil }
	}},
	{"", "ECDSA: DER, zeros, r = 0, s = n, a byte more or less, swapped", true, func(m *maker, d *draft) { m.ecdsaOdd(d, false) }},
	{"", "ECDSA: the other signature (r, n-s)", false, func(m *maker, d *draft) { m.ecdsaOdd(d, true) }},
	{"", "signed over something else", true, signedBy(func(m *maker, d *draft, input string) []byte {
		return m.signed(m.idp, d.kid, pick(m, input+".", input[1:], strings.Replace(input, ".", "", 1), ""))
	})},

	{"a byte", "of the header", false, onText(func(m *maker, raw string) string { return flipped(m, raw, 0) })},
	{"a byte", "of the payload", false, onText(func(m *maker, raw string) string { return flipped(m, raw, 1) })},
	{"a byte", "of the signature", false, onText(func(m *maker, raw string) string { return flipped(m, raw, 2) })},
	{"bits not counted", "in the signature", false, onText(func(_ *maker, raw string) string {
		start, end := part(raw, 2)
		return raw[:start] + uncounted(raw[start:end]) + raw[end:]
	})},
	{"bits not counted", "in what is signed", false, func(m *maker, d *draft) {
		which := m.rng.IntN(2)
		d.encode = func(text string, i int) string {
			if i == which {
				return uncounted(text)
			}
			return text
		}
	}},
	{"", "the other base64, signed", false, func(_ *maker, d *draft) {
		set(&d.claims, "x", `"\u00ff~~~???>>>"`)
		set(&d.claims, "y", `"ÿþý~~~???"`)
		d.encode = func(text string, _ int) string { return strings.NewReplacer("-", "+", "_", "/").Replace(text) }
	}},
	{"", "padding", true, onText(func(m *maker, raw string) string {
		_, end := part(raw, m.rng.IntN(3))
		return raw[:end] + pick(m, "=", "==", "%3D") + raw[end:]
	})},
	{"white space", "in the text", true, onText(func(m *maker, raw string) string {
		at := pick(m, 0, len(raw), m.rng.IntN(len(raw)+1))
		return raw[:at] + pick(m, " ", "\t", "\n", "\r\n", "\u00a0", "\v") + raw[at:]
	})},
	{"white space", "in what is signed", true, func(m *maker, d *draft) {
		d.encode = func(text string, _ int) string { return text[:len(text)/2] + "\n" + text[len(text)/2:] }
	}},
	{"", "two, four, five parts", true, onText(func(m *maker, raw string) string {
		start, _ := part(raw, 2)
		return pick(m, raw[:max(0, start-1)], raw[:start], raw+".", raw+".x", raw+"..", raw+".x.y", "."+raw, strings.Replace(raw, ".", "..", 1), strings.Repeat(".", 4000))
	})},
	{"", "no payload, no header", true, onText(func(m *maker, raw string) string {
		first, _ := part(raw, 1)
		second, _ := part(raw, 2)
		return pick(m, raw[:first]+raw[max(0, second-1):], raw[max(0, first-1):], "..", "")
	})},
	{"", "JSON serialization", true, onText(func(m *maker, raw string) string {
		parts := strings.SplitN(raw, ".", 3)
		flat := fmt.Sprintf(`"protected":%q,"signature":%q`, parts[0], parts[len(parts)-1])
		payload := fmt.Sprintf(`"payload":%q`, parts[min(1, len(parts)-1)])
		return pick(m, "{"+payload+","+flat+"}", "{"+payload+`,"signatures":[{`+flat+"}]}")
	})},
	{"", "parts of two tokens", true, func(m *maker, d *draft) {
		other := m.good(d.kid)
		set(&other.header, "x", `"other"`)
		set(&other.claims, "sub", `"root"`)
		which := m.rng.IntN(3)
		onText(func(_ *maker, raw string) string {
			start, end := part(raw, which)
			from, to := part(other.raw(), which)
			return raw[:start] + other.raw()[from:to] + raw[end:]
		})(m, d)
	}},
	{"", "something before it", true, onText(func(m *maker, raw string) string {
		return pick(m, "Bearer", "bearer.", "%", "\x00", "\ufeff", "DPoP,") + raw
	})},
	{"", "the payload's base64 twice", true, func(m *maker, d *draft) {
		d.json = func(_, payload *string) { *payload = base64.RawURLEncoding.EncodeToString([]byte(*payload)) }
	}},
}

// flipped changes a byte of one part.
func flipped(m *maker, raw string, i int) string {
	start, end := part(raw, i)
	if end <= start {
		return raw + "A"
	}
	at := start + m.rng.IntN(end-start)
	if m.rng.IntN(4) == 0 {
		at = end - 1
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return raw[:at] + string(alphabet[m.rng.IntN(64)]) + raw[at+1:]
}
