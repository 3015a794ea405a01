package statuslist

import (
	"bytes"
	"compress/flate"
	"compress/zlib"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
)

const (
	idp = "https://idp.example"
	uri = "https://idp.example/statuslists/1"
)

var now = time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)

// pack writes data as lst.
func pack(data []byte) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return base64.RawURLEncoding.EncodeToString(b.Bytes())
}

type (
	claims = extauthztest.Claims
	header = extauthztest.Header
)

// mint makes a list token, changed by parts.
func mint(issuer *extauthztest.Issuer, at time.Time, data []byte, parts ...extauthztest.Part) string {
	base := []extauthztest.Part{header{"typ": "statuslist+jwt"}, claims{
		"aud": extauthztest.Absent, "client_id": extauthztest.Absent, "sid": extauthztest.Absent, "auth_time": extauthztest.Absent,
		"acr": extauthztest.Absent, "scope": extauthztest.Absent, "jti": extauthztest.Absent,
		"iss": idp, "sub": uri, "iat": at.Unix(), "exp": at.Add(time.Hour).Unix(), "ttl": 60,
		"status_list": map[string]any{"bits": 1, "lst": pack(data)},
	}}
	return issuer.Token(at, append(base, parts...)...)
}

func keySet(t testing.TB, issuer *extauthztest.Issuer) *jose.KeySet {
	t.Helper()
	set, err := jose.ParseKeySet(issuer.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// vector is one of the draft's, or derived from them.
type vector struct {
	ID, Kind, Token, URI string
	JWK                  json.RawMessage
	Now                  int64
	StatusList           struct {
		Bits uint8
		Lst  string
	} `json:"status_list"`
	Expect map[string]any
}

// TestVectors are the samples of the draft, bit for bit.
func TestVectors(t *testing.T) {
	doc, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var all []vector
	if err := json.Unmarshal(doc, &all); err != nil {
		t.Fatal(err)
	}
	lists, tokens := 0, 0
	for _, v := range all {
		switch v.Kind {
		case "status_list_json":
			lists++
			t.Run(v.ID, func(t *testing.T) { v.list(t) })
		case "status_list_token_jwt":
			tokens++
			t.Run(v.ID, func(t *testing.T) { v.token(t) })
		}
	}
	if lists != 9 || tokens != 3 {
		t.Errorf("%d lists, %d tokens", lists, tokens)
	}
}

func (v *vector) list(t *testing.T) {
	data, err := inflate(v.StatusList.Lst)
	if v.Expect["holdfast"] == "reject" {
		if err == nil && v.StatusList.Bits != 0 {
			t.Error("accepted")
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	l := &List{bits: v.StatusList.Bits, data: data}
	want := map[uint64]uint8{}
	switch values := v.Expect["values"].(type) {
	case []any:
		for i, value := range values {
			want[uint64(i)] = uint8(value.(float64))
		}
	case map[string]any:
		for index, value := range values {
			i, err := strconv.ParseUint(index, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			want[i] = uint8(value.(float64))
		}
	}
	if len(want) == 0 {
		t.Fatal("no values")
	}
	nonzero := 0
	for i := uint64(0); ; i++ {
		value, ok := l.Value(i)
		if !ok {
			if i != l.entries() {
				t.Errorf("ends at %d, has %d", i, l.entries())
			}
			break
		}
		if value != want[i] || l.Valid(i) != (value == 0) {
			t.Errorf("%d is %d, valid %v; want %d", i, value, l.Valid(i), want[i])
		}
		if value != 0 {
			nonzero++
		}
	}
	if n, ok := v.Expect["nonzero"].(float64); ok && nonzero != int(n) {
		t.Errorf("%d are not 0, want %v", nonzero, n)
	}
	if l.Valid(l.entries()) || l.Valid(1<<63) {
		t.Error("valid beyond the end")
	}
}

func (v *vector) token(t *testing.T) {
	set, err := jose.ParseKeySet([]byte(`{"keys":[` + string(v.JWK) + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	at := v.Now
	if at == 0 {
		at = 1686920171
	}
	l, err := read(v.Token, &expected{issuer: "https://example.com", uri: v.URI, algorithms: []string{"ES256"}, keys: set, now: time.Unix(at, 0)})
	if good := v.ID == "tsl-jwt"; (err == nil) != good {
		t.Fatalf("%v", err)
	}
	if err == nil && (l.Valid(0) || !l.Valid(1) || l.ttl != 12*time.Hour) {
		t.Errorf("%+v", l)
	}
}

// TestRead changes one thing of a good list at a time.
func TestRead(t *testing.T) {
	issuer, stranger := extauthztest.NewIssuer(t, idp), extauthztest.NewIssuer(t, idp)
	set := keySet(t, issuer)
	bomb := pack(make([]byte, maxInflated+1))
	raw := &bytes.Buffer{}
	z, _ := flate.NewWriter(raw, 9)
	_, _ = z.Write([]byte{1, 2})
	_ = z.Close()
	good := pack([]byte{1})
	list := func(bits any, lst any) claims {
		return claims{"status_list": map[string]any{"bits": bits, "lst": lst}}
	}
	for name, tc := range map[string]struct {
		token string
		good  bool
	}{
		"good":                     {mint(issuer, now, []byte{1}), true},
		"typ in full":              {mint(issuer, now, []byte{1}, header{"typ": "application/statuslist+jwt"}), true},
		"no exp, no ttl":           {mint(issuer, now, []byte{1}, claims{"exp": extauthztest.Absent, "ttl": extauthztest.Absent}), true},
		"no iss":                   {mint(issuer, now, []byte{1}, claims{"iss": extauthztest.Absent}), true},
		"as large as may be":       {mint(issuer, now, nil, list(8, pack(make([]byte, maxInflated)))), true},
		"typ of an access token":   {mint(issuer, now, []byte{1}, header{"typ": "at+jwt"}), false},
		"no typ":                   {mint(issuer, now, []byte{1}, header{"typ": extauthztest.Absent}), false},
		"another key":              {mint(stranger, now, []byte{1}), false},
		"a forged signature":       {extauthztest.Forge(mint(issuer, now, []byte{1})), false},
		"alg none":                 {mint(issuer, now, []byte{1}, header{"alg": "none"}), false},
		"another list's sub":       {mint(issuer, now, []byte{1}, claims{"sub": uri + "0"}), false},
		"sub in another spelling":  {mint(issuer, now, []byte{1}, claims{"sub": "https://IDP.example/statuslists/1"}), false},
		"no sub":                   {mint(issuer, now, []byte{1}, claims{"sub": extauthztest.Absent}), false},
		"another iss":              {mint(issuer, now, []byte{1}, claims{"iss": "https://other.example"}), false},
		"no iat":                   {mint(issuer, now, []byte{1}, claims{"iat": extauthztest.Absent}), false},
		"iat in the future":        {mint(issuer, now, []byte{1}, claims{"iat": now.Add(2 * time.Minute).Unix()}), false},
		"exp as text":              {mint(issuer, now, []byte{1}, claims{"exp": "1"}), false},
		"expired this very moment": {mint(issuer, now, []byte{1}, claims{"exp": now.Unix()}), false},
		"ttl 0":                    {mint(issuer, now, []byte{1}, claims{"ttl": 0}), false},
		"ttl negative":             {mint(issuer, now, []byte{1}, claims{"ttl": -1}), false},
		"ttl as text":              {mint(issuer, now, []byte{1}, claims{"ttl": "60"}), false},
		"ttl huge":                 {mint(issuer, now, []byte{1}, claims{"ttl": json.Number("1e300")}), true},
		"no list":                  {mint(issuer, now, nil, claims{"status_list": extauthztest.Absent}), false},
		"a list of another type":   {mint(issuer, now, nil, claims{"status_list": "x"}), false},
		"bits 0":                   {mint(issuer, now, nil, list(0, good)), false},
		"bits 3":                   {mint(issuer, now, nil, list(3, good)), false},
		"bits 16":                  {mint(issuer, now, nil, list(16, good)), false},
		"bits 257":                 {mint(issuer, now, nil, list(257, good)), false},
		"bits as text":             {mint(issuer, now, nil, list("1", good)), false},
		"bits 1.0":                 {mint(issuer, now, nil, list(json.Number("1.0"), good)), false},
		"lst no text":              {mint(issuer, now, nil, list(1, 7)), false},
		"lst empty":                {mint(issuer, now, nil, list(1, "")), false},
		"nothing inflated":         {mint(issuer, now, nil, list(1, pack(nil))), false},
		"lst padded":               {mint(issuer, now, nil, list(1, base64.URLEncoding.EncodeToString([]byte("x")))), false},
		"lst cut":                  {mint(issuer, now, nil, list(1, good[:len(good)-4])), false},
		"lst with a tail":          {mint(issuer, now, nil, list(1, good+"AAAA")), false},
		"raw deflate":              {mint(issuer, now, nil, list(1, base64.RawURLEncoding.EncodeToString(raw.Bytes()))), false},
		"a bomb":                   {mint(issuer, now, nil, list(8, bomb)), false},
		"no token at all":          {"<html>", false},
		"nothing":                  {"", false},
	} {
		l, err := read(tc.token, &expected{issuer: idp, uri: uri, algorithms: []string{"ES256"}, keys: set, now: now})
		if (err == nil) != tc.good || (l != nil) != tc.good && err == nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// The issuer's algorithms count here too.
	if _, err := read(mint(issuer, now, []byte{1}), &expected{issuer: idp, uri: uri, algorithms: []string{"RS256"}, keys: set, now: now}); err == nil {
		t.Error("an algorithm that is not the issuer's")
	}
}

func TestPrefixes(t *testing.T) {
	for prefix, good := range map[string]bool{
		"https://idp.example/statuslists/": true, "http://127.0.0.1:80/a/": true, "https://idp.example/": true,
		"https://idp.example": true, "https://idp.example/a": true, "http://idp.example/a/": false, "https://u:p@idp.example/": false,
		"https://idp.example/a/?b=c/": false, "https://idp.example/a/../": false, "https://idp.example/%2e/": false, "": false, "/a/": false,
	} {
		if err := CheckPrefix(prefix); (err == nil) != good {
			t.Errorf("%q: %v", prefix, err)
		}
	}
	for prefix, want := range map[string]bool{
		"https://idp.example": true, "https://idp.example/": true, "https://idp.example/statuslists/1": true, "https://idp.example/status": true,
		"https://idp.exampl": false, "https://idp.example/statuslists/12": false, "https://idp": false,
	} {
		if got := (&Source{URIs: []string{prefix}}).allowed("https://idp.example/statuslists/1"); got != want {
			t.Errorf("below %q: %v", prefix, got)
		}
	}
	if (&Source{URIs: []string{"https://idp.example"}}).allowed("https://idp.example.evil/statuslists/1") {
		t.Error("another host")
	}
	src := &Source{URIs: []string{"https://idp.example/statuslists/"}}
	for uri, want := range map[string]bool{
		"https://idp.example/statuslists/1":                      true,
		"https://idp.example/statuslists/a/b?x=1":                true,
		"https://idp.example/statuslists/../admin":               false,
		"https://idp.example/statuslists/%2e%2e/admin":           false,
		"https://idp.example/statuslists/a%2fb":                  false,
		"https://idp.example/statuslists/..":                     false,
		"https://idp.example/statuslists//x":                     false,
		"https://idp.example/statuslists":                        false,
		"https://idp.example.evil/statuslists/1":                 false,
		"https://idp.example:444/statuslists/1":                  false,
		"https://idp.example@evil.example/statuslists/1":         false,
		"HTTPS://idp.example/statuslists/1":                      false,
		"http://idp.example/statuslists/1":                       false,
		"https://evil.example/?https://idp.example/statuslists/": false,
		"": false,
	} {
		if got := src.allowed(uri); got != want {
			t.Errorf("%q: %v", uri, got)
		}
	}
}

// FuzzInflate: whatever lst is, the result is bounded and the same as what was
// packed.
func FuzzInflate(f *testing.F) {
	for _, seed := range []string{"eNrbuRgAAhcBXQ", "eNo76fITAAPfAgc", "27kYAA", "eNrbuRgAAhcBXA", "", "eNo", strings.Repeat("A", 40)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, lst string) {
		data, err := inflate(lst)
		if err != nil {
			return
		}
		if len(data) == 0 || len(data) > maxInflated {
			t.Fatalf("%d bytes", len(data))
		}
		again, err := inflate(pack(data))
		if err != nil || !bytes.Equal(again, data) {
			t.Fatal(fmt.Errorf("not the same again: %w", err))
		}
	})
}
