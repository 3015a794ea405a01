package main

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

// jwtOf is a token whose signature is three bytes of nothing.
func jwtOf(header, payload string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".AAAA"
}

// shown is what inspect prints of a token in one form.
func shown(t *testing.T, raw, form string, now time.Time) string {
	t.Helper()
	seen, err := inspect(raw, now)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := json.Marshal(seen)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	c := client{output: form}
	if err := c.print(&out, &answer{body: doc}, seen.table); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

const inspectedTable = `NOT VERIFIED: anyone can write what stands in a token
kind  jwt
header
  alg  ES256
  typ  at+jwt
  kid  k1
claims
  iss       https://idp.example
  aud       ["a", "b"]
  iat       1767366245  2026-01-02T15:04:05Z, 15m ago
  nbf       1767367145.5  2026-01-02T15:19:05Z, now
  exp       1767373445  2026-01-02T17:04:05Z, in 1h45m
  sub       a\u202eb
  cnf       {"jkt":"T-1","x5t#S256":"T-2","kid":"k","jwk":{"n":1e2}}
  big       12345678901234567890
bound to    jkt T-1 DPoP key
bound to    x5t#S256 T-2 client certificate
bound to    kid k a method that Holdfast does not know
bound to    jwk {"n":1e2} a method that Holdfast does not know
token_hash  hOTISQbDKlUot7ZBgatqfD3gqyE741ptSNgAFvceAxc
`

const inspectedYAML = `verified: false
notice: 'nothing here is verified: anyone can write what stands in a token'
kind: jwt
typ: at+jwt
header:
  alg: ES256
  typ: at+jwt
  kid: k1
claims:
  iss: https://idp.example
  aud:
  - a
  - b
  iat: 1767366245
  nbf: 1767367145.5
  exp: 1767373445
  sub: "a\u202eb"
  cnf:
    jkt: T-1
    x5t#S256: T-2
    kid: k
    jwk:
      n: 1e2
  big: 12345678901234567890
times:
- claim: iat
  time: '2026-01-02T15:04:05Z'
  when: 15m ago
- claim: nbf
  time: '2026-01-02T15:19:05Z'
  when: now
- claim: exp
  time: '2026-01-02T17:04:05Z'
  when: in 1h45m
bindings:
- method: jkt
  value: T-1
- method: x5t#S256
  value: T-2
- method: kid
  value: k
- method: jwk
  value: '{"n":1e2}'
token_hash: hOTISQbDKlUot7ZBgatqfD3gqyE741ptSNgAFvceAxc
`

// TestInspectOutput: the claims keep their order and their digits, times are
// said in words, and nothing moves the cursor.
func TestInspectOutput(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 19, 5, 0, time.UTC)
	raw := jwtOf(`{"alg":"ES256","typ":"at+jwt","kid":"k1"}`,
		"{\"iss\":\"https://idp.example\",\"aud\":[\"a\", \"b\"],\"iat\":1767366245,\"nbf\":1767367145.5,\"exp\":1767373445,\"sub\":\"a\u202eb\","+
			`"cnf":{"jkt":"T-1","x5t#S256":"T-2","kid":"k","jwk":{"n":1e2}},"big":12345678901234567890}`)
	if diff := cmp.Diff(inspectedTable, shown(t, raw, "table", now)); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(inspectedYAML, shown(t, raw, "yaml", now)); diff != "" {
		t.Errorf("yaml (-want +got):\n%s", diff)
	}
	doc := shown(t, raw, "json", now)
	if !strings.HasPrefix(doc, "{\n  \"verified\": false,\n  \"notice\": ") || !strings.Contains(doc, `"sub": "a\u202eb"`) {
		t.Errorf("json:\n%s", doc)
	}
}

// TestInspectForms: whatever it is given, it says what it is or what is wrong.
func TestInspectForms(t *testing.T) {
	good := jwtOf(`{"alg":"ES256"}`, `{}`)
	parts := strings.Split(good, ".")
	for _, test := range []struct{ name, raw, kind, problem, fails string }{
		{"good", good, "jwt", "", ""},
		{"no typ", jwtOf(`{"alg":"ES256","typ":""}`, `{}`), "jwt", "", ""},
		{"HMAC", jwtOf(`{"alg":"HS256"}`, `{}`), "jwt", `algorithm refused: alg "HS256"`, ""},
		{"crit", jwtOf(`{"alg":"ES256","crit":["x"]}`, `{}`), "damaged jwt", "header member crit", ""},
		{"padded", parts[0] + "=." + parts[1] + "." + parts[2], "damaged jwt", "header: illegal base64", ""},
		{"other alphabet", parts[0] + "." + base64.StdEncoding.EncodeToString([]byte(`{"a":"???>>>"}`)) + ".AAAA", "damaged jwt", "payload: illegal base64", ""},
		{"invalid UTF-8", jwtOf(`{"alg":"ES256"}`, "{\"a\":\"\xff\"}"), "damaged jwt", "not valid UTF-8", ""},
		{"payload is no object", jwtOf(`{"alg":"ES256"}`, `[]`), "damaged jwt", "payload: JSON is not an object", ""},
		{"cut off", parts[0] + "." + parts[1], "damaged jwt", "one dot only", ""},
		{"cut off in the header", parts[0][:8], "opaque", "", ""},
		{"JWE", parts[0] + ".a.b.c.d", "jwe", "more than three parts: a JWE", ""},
		{"opaque", "2YotnFZFEjr1zCsicMWpAA", "opaque", "", ""},
		{"opaque with a dot", "ya29.a0Af", "opaque", "", ""},
		{"three parts of nothing", "a.b.c", "", "", "this has the three parts of a JWT and can not be read as one: not a strict compact JWS: "},
		{"dots", "..", "", "", "a part is empty"},
	} {
		seen, err := inspect(test.raw, time.Unix(0, 0))
		if test.fails != "" {
			if err == nil || !strings.Contains(err.Error(), test.fails) {
				t.Errorf("%s: %v, want %q", test.name, err, test.fails)
			}
			continue
		}
		if err != nil || seen.Kind != test.kind || !strings.Contains(seen.Problem, test.problem) || (seen.Problem == "") != (test.problem == "") {
			t.Errorf("%s: %+v, %v", test.name, seen, err)
			continue
		}
		for _, form := range []string{"table", "json", "yaml"} {
			if text := shown(t, test.raw, form, time.Unix(0, 0)); !utf8.ValidString(text) || strings.ContainsAny(text, "\t\x1b") {
				t.Errorf("%s, %s: %q", test.name, form, text)
			}
		}
	}
}

// FuzzInspect: no credential, however broken, ends in anything but an error or
// an output that is safe to show and says that nothing is verified.
func FuzzInspect(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"alg":"ES256","typ":"JWT"}`, `{"exp":1,"cnf":{"jkt":[1]}}`}, {`{"alg":"none"}`, `{"a":"\u001b[2J","b":"\u2028"}`},
		{`{"alg":"ES256","jwk":{"kty":"EC"}}`, `{"a":1,"a":2}`}, {"{}", "{\"\x7f\":\"\xff\"}"},
		{"a.b.c", ""}, {"opaque", ""}, {"e30.e30.e30.e30.e30", ""}, {"e30", ""}, {"e30=.e30.", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, raw, payload string) {
		if payload != "" {
			raw = jwtOf(raw, payload)
		}
		seen, err := inspect(raw, time.Unix(1_700_000_000, 0))
		if err != nil {
			return
		}
		if seen.Verified {
			t.Fatal("verified")
		}
		for _, form := range []string{"table", "json", "yaml"} {
			text := shown(t, raw, form, time.Unix(1_700_000_000, 0))
			for _, r := range text {
				if r != '\n' && printable(string(r)) != string(r) {
					t.Fatalf("%s holds %U:\n%q", form, r, text)
				}
			}
		}
	})
}
