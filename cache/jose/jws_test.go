package jose

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

func enc(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

// compact makes a token with a signature that is only a form.
func compact(header, payload string) string {
	return enc(header) + "." + enc(payload) + "." + enc(strings.Repeat("s", 64))
}

const (
	goodHeader  = `{"alg":"ES256","typ":"at+jwt","kid":"k1"}`
	goodPayload = `{"iss":"i"}`
)

func TestParse(t *testing.T) {
	raw := compact(goodHeader, goodPayload)
	got, err := Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	if got.Alg != "ES256" || got.KeyID != "k1" || !got.HasKeyID || got.Type != "at+jwt" || !got.HasType ||
		got.Raw != raw || got.SigningInput+"."+enc(string(got.Signature)) != raw || !got.Claims.Has("iss") {
		t.Errorf("parsed as %+v", got)
	}
	if bare, err := Parse(compact(`{"alg":"Ed25519"}`, `{}`)); err != nil || bare.HasKeyID || bare.HasType || bare.Alg != "EdDSA" {
		t.Errorf("bare header parsed as %+v, %v", bare, err)
	}
	// JA03, JA04: the token's word for its own key does not even have to be sound.
	if _, err := Parse(compact(`{"alg":"ES256","jwk":{"kty":1},"jku":[],"x5u":"http://169.254.169.254/","x5c":7,"x5t":null}`, `{}`)); err != nil {
		t.Errorf("header keys are read: %v", err)
	}
}

func TestParseMalformed(t *testing.T) {
	h, p, s := enc(goodHeader), enc(goodPayload), enc(strings.Repeat("s", 64))
	for name, raw := range map[string]string{
		"JA09 crit unknown":                   compact(`{"alg":"ES256","crit":["x"],"x":1}`, goodPayload),
		"JA09 crit empty":                     compact(`{"alg":"ES256","crit":[]}`, goodPayload),
		"JA09 crit no array":                  compact(`{"alg":"ES256","crit":"exp"}`, goodPayload),
		"JA09 crit null":                      compact(`{"alg":"ES256","crit":null}`, goodPayload),
		"JA09 crit names a registered one":    compact(`{"alg":"ES256","crit":["alg"]}`, goodPayload),
		"JA10 b64 false":                      compact(`{"alg":"ES256","b64":false,"crit":["b64"]}`, goodPayload),
		"JA10 b64 without crit":               compact(`{"alg":"ES256","b64":false}`, goodPayload),
		"JA10 b64 true":                       compact(`{"alg":"ES256","b64":true}`, goodPayload),
		"JA12 JWE of five parts":              h + ".." + s + "." + s + "." + s,
		"JA12 JWE of five full parts":         strings.Join([]string{enc(`{"alg":"RSA-OAEP","enc":"A128GCM"}`), s, s, s, s}, "."),
		"JA12 zip":                            compact(`{"alg":"ES256","zip":"DEF"}`, goodPayload),
		"JA12 JSON serialisation, flattened":  `{"payload":"` + p + `","protected":"` + h + `","signature":"` + s + `"}`,
		"JA12 JSON serialisation, general":    `{"payload":"` + p + `","signatures":[{"protected":"` + h + `","signature":"` + s + `"}]}`,
		"JA12 nested JWT":                     compact(`{"alg":"ES256","cty":"JWT"}`, compact(goodHeader, goodPayload)),
		"JA16 alg a number":                   compact(`{"alg":256}`, goodPayload),
		"JA16 NUL at the end":                 compact(`{"alg":"RS256\u0000"}`, goodPayload),
		"JA16 space at the end":               compact(`{"alg":"ES256 "}`, goodPayload),
		"JA16 space in front":                 compact(`{"alg":" ES256"}`, goodPayload),
		"JA16 alg null":                       compact(`{"alg":null}`, goodPayload),
		"JA16 alg a list":                     compact(`{"alg":["ES256"]}`, goodPayload),
		"JK03 kid a number":                   compact(`{"alg":"ES256","kid":1}`, goodPayload),
		"JK03 kid null":                       compact(`{"alg":"ES256","kid":null}`, goodPayload),
		"typ a number":                        compact(`{"alg":"ES256","typ":1}`, goodPayload),
		"typ a list":                          compact(`{"alg":"ES256","typ":["at+jwt"]}`, goodPayload),
		"PA01 alg twice":                      compact(`{"alg":"ES256","alg":"none"}`, goodPayload),
		"PA01 kid twice":                      compact(`{"alg":"ES256","kid":"a","\u006bid":"b"}`, goodPayload),
		"PA01 sub twice":                      compact(goodHeader, `{"sub":"a","\u0073ub":"b"}`),
		"PA04 header null":                    compact(`null`, goodPayload),
		"PA04 payload null":                   compact(goodHeader, `null`),
		"PA04 payload array":                  compact(goodHeader, `[]`),
		"PA04 payload string":                 compact(goodHeader, `"x"`),
		"PA04 payload with bytes after it":    compact(goodHeader, `{"a":1}x`),
		"PA04 header with bytes after it":     compact(goodHeader+" {}", goodPayload),
		"PA04 payload with BOM":               compact(goodHeader, "\ufeff{}"),
		"PA05 payload 10000 deep":             compact(goodHeader, `{"a":`+nested("[", "", "]", 8000)+`}`),
		"PA06 a million dots":                 strings.Repeat(".", 1_000_000),
		"PA06 a million dots after a token":   compact(goodHeader, goodPayload) + strings.Repeat(".", 1_000_000),
		"PA07 padding in the header":          h + "=." + p + "." + s,
		"PA07 padding in the payload":         h + "." + enc(`{"iss":"ii"}`) + "==." + s,
		"PA07 padding in the signature":       h + "." + p + "." + s + "==",
		"PA07 CR in the header":               h[:8] + "\r" + h[8:] + "." + p + "." + s,
		"PA07 LF in the payload":              h + "." + p[:4] + "\n" + p[4:] + "." + s,
		"PA07 CRLF in the signature":          h + "." + p + "." + s[:9] + "\r\n" + s[9:],
		"PA07 LF at the end":                  h + "." + p + "." + s + "\n",
		"PA07 plus":                           h + "." + p + "." + "+" + s[1:],
		"PA07 slash":                          h + "." + p + "." + "/" + s[1:],
		"PA07 space":                          h + "." + p + "." + s[:5] + " " + s[5:],
		"PA07 space at the start":             " " + h + "." + p + "." + s,
		"PA07 stray bits in the signature":    h + "." + p + "." + s[:len(s)-1] + string(s[len(s)-1]+1),
		"PA07 stray bits in the payload":      h + "." + enc("{} ")[:2] + "1" + "." + s,
		"PA07 length that can not be":         h + "." + p + "." + s[:len(s)-1],
		"PA07 NUL":                            h + "." + p + "." + s + "\x00",
		"PA07 not ASCII":                      h + "." + p + ".é" + s,
		"PA11 no part":                        "",
		"PA11 one part":                       h,
		"PA11 two parts":                      h + "." + p,
		"PA11 four parts":                     h + "." + p + "." + s + "." + s,
		"PA11 four parts, the last empty":     h + "." + p + "." + s + ".",
		"PA11 empty header":                   "." + p + "." + s,
		"PA11 empty payload":                  h + ".." + s,
		"PA11 empty signature":                h + "." + p + ".",
		"PA11 only dots":                      "..",
		"header longer than 16 KiB":           compact(`{"alg":"ES256","x":"`+strings.Repeat("x", MaxObjectBytes)+`"}`, goodPayload),
		"payload longer than 16 KiB":          compact(goodHeader, `{"x":"`+strings.Repeat("x", MaxObjectBytes)+`"}`),
		"signature longer than any key's":     h + "." + p + "." + strings.Repeat("A", 2000),
		"bearer scheme left on":               "Bearer " + compact(goodHeader, goodPayload),
		"a comma and another token":           compact(goodHeader, goodPayload) + "," + compact(goodHeader, goodPayload),
		"form is judged before the algorithm": compact(`{"alg":"none","crit":[]}`, goodPayload),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(raw); !errors.Is(err, ErrMalformed) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestParseAlgorithmRefused(t *testing.T) {
	for name, header := range map[string]string{
		"JA01 none":          `{"alg":"none"}`,
		"JA01 None":          `{"alg":"None"}`,
		"JA01 NONE":          `{"alg":"NONE"}`,
		"JA01 nOnE":          `{"alg":"nOnE"}`,
		"JA01 none, escaped": `{"alg":"\u006eone"}`,
		"JA02 HS256":         `{"alg":"HS256"}`,
		"JA02 HS384":         `{"alg":"HS384"}`,
		"JA02 HS512":         `{"alg":"HS512"}`,
		"JA16 missing":       `{"typ":"at+jwt"}`,
		"JA16 empty":         `{"alg":""}`,
		"other case":         `{"alg":"es256"}`,
		"other name's case":  `{"alg":"eddsa"}`,
		"under another name": `{"Alg":"ES256"}`,
		"secp256k1":          `{"alg":"ES256K"}`,
		"Ed448":              `{"alg":"Ed448"}`,
		"key management":     `{"alg":"RSA-OAEP"}`,
		"very long":          `{"alg":"` + strings.Repeat("A", 5000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Parse(compact(header, goodPayload)); !errors.Is(err, ErrAlgorithm) {
				t.Errorf("error is %v", err)
			}
			if _, err := Parse(enc(header) + "." + enc(goodPayload) + "."); !errors.Is(err, ErrAlgorithm) {
				t.Errorf("without a signature: error is %v", err)
			}
		})
	}
}

// PA06: what a stranger sends may not cost memory in proportion to its dots.
func TestParseAllocsAreFlat(t *testing.T) {
	raw := strings.Repeat(".", 1_000_000)
	if n := testing.AllocsPerRun(10, func() { _, _ = Parse(raw) }); n > 10 {
		t.Errorf("a million dots cost %v allocations", n)
	}
}

// FuzzJWS: what is accepted has one spelling only, and says what Parse says.
func FuzzJWS(f *testing.F) {
	f.Add(compact(goodHeader, goodPayload))
	f.Add(compact(`{"alg":"none"}`, goodPayload))
	f.Add(compact(`{"alg":"EdDSA","crit":["b64"]}`, `{"a":[1,2,{"b":null}]}`))
	f.Add("..")
	f.Add(strings.Repeat("e30.", 9))
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := Parse(raw)
		if err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrAlgorithm) {
				t.Fatalf("error %v is neither of the two", err)
			}
			return
		}
		parts := strings.Split(raw, ".")
		if len(parts) != 3 {
			t.Fatalf("accepted %d parts", len(parts))
		}
		for _, part := range parts {
			bytes, err := base64.RawURLEncoding.DecodeString(part)
			if err != nil || base64.RawURLEncoding.EncodeToString(bytes) != part {
				t.Fatalf("part %q is not the only spelling of its bytes", part)
			}
		}
		if _, ok := Algorithm(got.Alg); !ok || len(got.Signature) == 0 || got.Header.Has("crit") {
			t.Fatalf("accepted %+v", got)
		}
	})
}
