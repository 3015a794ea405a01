package admin

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/feed"
)

// thumb is a digest as jkt, x5t#S256 and token_hash are written.
var thumb = base64.RawURLEncoding.EncodeToString(make([]byte, 32))

// TestRevokeRefused: a bad request is answered with why, and stores nothing.
func TestRevokeRefused(t *testing.T) {
	w := start(t)
	tomorrow := time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)
	soon := time.Now().Add(45 * time.Second).UTC().Format(time.RFC3339)
	revocation := func(members string) string { return `{"kind":"session","issuer":"` + idp + `",` + members + `}` }
	for name, tc := range map[string]struct {
		body    string
		status  int
		pointer string // of the first error
	}{
		// Not one JSON value of the right shape.
		"empty":                {" ", 400, ""},
		"not JSON":             {"kind=session", 400, ""},
		"cut short":            {`{"kind":"session"`, 400, ""},
		"bytes after it":       {session("x") + " x", 400, ""},
		"two objects":          {session("x") + session("y"), 400, ""},
		"a byte order mark":    {"\ufeff" + session("x"), 400, ""},
		"a comment":            {session("x") + "// x", 400, ""},
		"trailing comma":       {`{"kind":"session","value":"x","issuer":"` + idp + `",}`, 400, ""},
		"null":                 {"null", 400, ""},
		"a string":             {`"session"`, 400, ""},
		"a number":             {"1", 400, ""},
		"empty array":          {"[]", 400, ""},
		"array of strings":     {`["session"]`, 400, "/0"},
		"array in array":       {"[[" + session("x") + "]]", 400, "/0"},
		"depth":                {strings.Repeat("[", 100_000), 400, ""},
		"invalid UTF-8":        {session("x\xff"), 400, ""},
		"overlong UTF-8":       {session("\xc0\xaf"), 400, ""},
		"half a surrogate":     {session(`x\ud800`), 400, ""},
		"the other half":       {session(`x\uDC00`), 400, ""},
		"halves the wrong way": {session(`\udc00\ud800`), 400, ""},
		"half and an escape":   {session(`\ud83d\n`), 400, ""},
		"half in a name":       {`{"\ud800":1}`, 400, ""},
		"no object but empty":  {"{}", 400, "/kind"},
		"unknown member":       {revocation(`"value":"x","who":"me"`), 400, "/who"},
		"member in other case": {revocation(`"Value":"x"`), 400, "/Value"},
		"a member's twin":      {revocation(`"value":"x","value":"y"`), 400, "/value"},
		"a twin by its escape": {revocation(`"value":"x","v\u0061lue":"x"`), 400, "/value"},
		"an odd member":        {revocation(`"value":"x","a/b~c":1`), 400, "/a~1b~0c"},
		"value a number":       {revocation(`"value":1`), 400, "/value"},
		"value null":           {revocation(`"value":null`), 400, "/value"},
		"value an array":       {revocation(`"value":["x"]`), 400, "/value"},
		"ttl a number":         {revocation(`"value":"x","ttl":3600`), 400, "/ttl"},
		"not_before a number":  {revocation(`"value":"x","not_before":1700000000`), 400, "/not_before"},
		"reason an object":     {revocation(`"value":"x","reason":{}`), 400, "/reason"},
		"force a string":       {revocation(`"value":"x","force":"true"`), 400, "/force"},
		"force null":           {revocation(`"value":"x","force":null`), 400, "/force"},

		// Kind and value: security.md RV16, RV23, AD10.
		"no kind":                 {`{"value":"x","issuer":"` + idp + `"}`, 400, "/kind"},
		"unknown kind":            {`{"kind":"user","value":"x","issuer":"` + idp + `"}`, 400, "/kind"},
		"kind in capitals":        {`{"kind":"Session","value":"x","issuer":"` + idp + `"}`, 400, "/kind"},
		"no value":                {`{"kind":"session","issuer":"` + idp + `"}`, 400, "/value"},
		"value empty":             {session(""), 400, "/value"},
		"value a star":            {session("*"), 400, "/value"},
		"value a space":           {session(" "), 400, "/value"},
		"value white":             {session(`\t\n \u00a0\u2003`), 400, "/value"},
		"newline after":           {session(`x\n`), 400, "/value"},
		"NUL inside":              {session(`x\u0000y`), 400, "/value"},
		"escape inside":           {session(`x\u001b[2Jy`), 400, "/value"},
		"too long":                {session(strings.Repeat("x", cache.MaxValueBytes+1)), 400, "/value"},
		"a header pasted":         {session("Bearer abc"), 400, "/value"},
		"a DPoP header pasted":    {session("dpop abc"), 400, "/value"},
		"a token pasted":          {session("eyJhbGciOiJFUzI1NiJ9.e30.c2ln"), 400, "/value"},
		"hash too short":          {`{"kind":"token_hash","value":"abc"}`, 400, "/value"},
		"hash in hex":             {`{"kind":"token_hash","value":"` + strings.Repeat("ab", 32) + `"}`, 400, "/value"},
		"hash padded":             {`{"kind":"token_hash","value":"` + thumb + `="}`, 400, "/value"},
		"hash in base64":          {`{"kind":"token_hash","value":"+/` + thumb[2:] + `"}`, 400, "/value"},
		"hash with odd last bits": {`{"kind":"token_hash","value":"` + thumb[:42] + `B"}`, 400, "/value"},
		"jkt too short":           {`{"kind":"binding_key","value":"` + thumb[1:] + `"}`, 400, "/value"},

		// Issuer.
		"issuer missing":            {`{"kind":"session","value":"x"}`, 400, "/issuer"},
		"issuer empty":              {`{"kind":"session","value":"x","issuer":""}`, 400, "/issuer"},
		"issuer not configured":     {`{"kind":"session","value":"x","issuer":"https://other.example"}`, 400, "/issuer"},
		"issuer with a slash":       {`{"kind":"session","value":"x","issuer":"` + idp + `/"}`, 400, "/issuer"},
		"issuer in an issuer":       {`{"kind":"issuer","value":"` + idp + `","issuer":"` + idp + `"}`, 400, "/issuer"},
		"issuer of a hash":          {`{"kind":"token_hash","value":"` + thumb + `","issuer":"` + idp + `"}`, 400, "/issuer"},
		"unknown issuer of a key":   {`{"kind":"binding_key","value":"` + thumb + `","issuer":"https://x.example"}`, 400, "/issuer"},
		"an issuer not configured":  {`{"kind":"issuer","value":"https://other.example"}`, 400, "/value"},
		"subject without an issuer": {`{"kind":"subject","value":"alice"}`, 400, "/issuer"},

		// Times: TI05.
		"not_before no time":      {revocation(`"value":"x","not_before":"now"`), 400, "/not_before"},
		"not_before empty":        {revocation(`"value":"x","not_before":""`), 400, "/not_before"},
		"not_before without zone": {revocation(`"value":"x","not_before":"2026-01-01T00:00:00"`), 400, "/not_before"},
		"not_before tomorrow":     {revocation(`"value":"x","not_before":"` + tomorrow + `"`), 400, "/not_before"},
		"not_before past skew":    {revocation(`"value":"x","not_before":"` + soon + `"`), 400, "/not_before"},
		"not_before in 9999":      {revocation(`"value":"x","not_before":"9999-12-31T23:59:59Z"`), 400, "/not_before"},
		"not_before in year 1":    {revocation(`"value":"x","not_before":"0001-01-01T00:00:00Z"`), 400, "/not_before"},
		"ttl no duration":         {revocation(`"value":"x","ttl":"1 day"`), 400, "/ttl"},
		"ttl 0":                   {revocation(`"value":"x","ttl":"0s"`), 400, "/ttl"},
		"ttl negative":            {revocation(`"value":"x","ttl":"-1h"`), 400, "/ttl"},
		"ttl overflows":           {revocation(`"value":"x","ttl":"9999999999h"`), 400, "/ttl"},
		"ttl below a token's":     {revocation(`"value":"x","ttl":"59m59s"`), 422, "/ttl"},
		"ttl below its longest":   {strings.Replace(revocation(`"value":"x","ttl":"119m"`), idp, lender, 1), 422, "/ttl"},
		"ttl of an issuer":        {`{"kind":"issuer","value":"` + idp + `","ttl":"59m"}`, 422, "/ttl"},
		"ttl of all issuers":      {`{"kind":"token_hash","value":"` + thumb + `","ttl":"119m"}`, 422, "/ttl"},
		"reason too long":         {revocation(`"value":"x","reason":"` + strings.Repeat("x", cache.MaxReasonBytes+1) + `"`), 400, "/reason"},

		// Arrays: all or nothing.
		"one bad among good":    {"[" + session("a") + "," + session("*") + "," + session("c") + "]", 400, "/1/value"},
		"one short among good":  {"[" + session("a") + "," + revocation(`"value":"x","ttl":"1m"`) + "]", 422, "/1/ttl"},
		"the last is malformed": {"[" + session("a") + ",]", 400, ""},
		"one too many":          {"[" + strings.Repeat(session("a")+",", maxItems) + session("z") + "]", 413, ""},
		"too large":             {session(strings.Repeat("x", maxBody)), 413, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got := w.do(t, ask{method: "POST", path: "/v1/revocations", body: tc.body})
			if got.status != tc.status {
				t.Fatalf("got %d %s, want %d", got.status, got.body, tc.status)
			}
			isProblemDocument(t, got)
			var doc problem
			if err := json.Unmarshal([]byte(got.body), &doc); err != nil {
				t.Fatal(err)
			}
			pointer := ""
			if len(doc.Errors) > 0 {
				pointer = doc.Errors[0].Pointer
			}
			if pointer != tc.pointer {
				t.Errorf("points at %q, want %q: %s", pointer, tc.pointer, got.body)
			}
			if strings.Contains(got.body, "eyJ") || strings.Contains(got.body, "abc") {
				t.Errorf("the answer repeats what may be a secret: %s", got.body)
			}
		})
	}
	for name, header := range map[string]map[string]string{
		"key empty":    {"Idempotency-Key": " "},
		"key too long": {"Idempotency-Key": strings.Repeat("x", 256)},
	} {
		if got := w.do(t, ask{"POST", "/v1/revocations", session("x"), header}); got.status != 400 {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	for _, query := range []string{"wait=x", "wait=0s", "wait=-1s", "wait=31s", "wait", "force=perhaps", "kind=session", "limit=1", "dry-run"} {
		if got := w.do(t, ask{method: "POST", path: "/v1/revocations?" + query, body: session("x")}); got.status != 400 {
			t.Errorf("?%s: %d", query, got.status)
		}
	}
	if n := w.inForce(); n != 0 || w.config.Index.Applied() != w.config.Sync.Number() {
		t.Errorf("%d revocations were stored", n)
	}
	for _, number := range w.memory.Entries() {
		if strings.Contains(string(number.Record), "idp.example") {
			t.Error("something of a refused request is in the feed")
		}
	}
}

// TestRevoke takes each kind, finds it in the index, and reads it back.
func TestRevoke(t *testing.T) {
	w := start(t)
	for _, kind := range cache.AllKinds() {
		t.Run(kind.String(), func(t *testing.T) {
			value, issuer := "the "+kind.String()+" Ä 😀", idp
			switch kind {
			case cache.Issuer:
				value, issuer = idp, ""
			case cache.BindingKey, cache.TokenHash:
				value, issuer = thumb, ""
			}
			body := map[string]string{"kind": kind.String(), "value": value, "reason": "phone\nlost", "not_before": "2026-01-02T03:04:05.9+01:00", "ttl": "800h"}
			if issuer != "" {
				body["issuer"] = issuer
			}
			text, _ := json.Marshal(body)
			before := time.Now()
			got := w.do(t, ask{method: "POST", path: "/v1/revocations", body: string(text)})
			if got.status != 201 {
				t.Fatalf("%d %s", got.status, got.body)
			}
			doc := got.json(t)
			id, _ := doc["id"].(string)
			ref, err := cache.ParseRef(id)
			if err != nil || doc["seq"] != float64(ref.Number) || got.header.Get("Location") != "/v1/revocations/"+id {
				t.Errorf("id %q, seq %v, location %q: %v", id, doc["seq"], got.header.Get("Location"), err)
			}
			expires, err := time.Parse(time.RFC3339, doc["expires"].(string))
			if err != nil || expires.Before(before.Add(800*time.Hour)) || expires.After(time.Now().Add(800*time.Hour+time.Second)) {
				t.Errorf("expires %v", doc["expires"])
			}
			want := map[string]any{
				"id": id, "seq": float64(ref.Number), "kind": kind.String(), "value": value, "issuer": issuer,
				"not_before": "2026-01-02T02:04:05Z", "expires": doc["expires"], "reason": "phone\nlost",
			}
			if diff := cmp.Diff(want, doc); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if !w.config.Index.Has(cache.KeyOf(kind, issuer, value), ref) {
				t.Error("201, and not in the index")
			}
			read := w.get(t, "/v1/revocations/"+id).json(t)
			want["actor"], want["enforced"] = "admin", map[string]any{"count": 0.0, "first": nil, "last": nil}
			want["created"] = read["created"]
			if diff := cmp.Diff(want, read); diff != "" {
				t.Errorf("GET (-want +got)\n%s", diff)
			}
		})
	}
	if w.counted["session stored"] != 1 || w.counted["token_hash stored"] != 1 {
		t.Errorf("counted %v", w.counted)
	}
}

// TestRevokeDefaults: not_before is this very second, in which a token is
// still denied and after which a new login helps; the ttl is the retention.
func TestRevokeDefaults(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 700_000_000, time.UTC)
	w := start(t, func(c *Config) { c.Now = func() time.Time { return now } })
	got := w.revoke(t, `{"kind":"subject","value":"alice","issuer":"`+idp+`"}`)
	if got["not_before"] != "2026-05-01T12:00:00Z" || got["expires"] != "2026-05-31T12:00:01Z" || got["reason"] != "" {
		t.Errorf("got %v", got)
	}
	// A token that can live as long as the ttl may be ahead of and behind our
	// clock: the revocation outlives it.
	for ttl, expires := range map[string]string{"1h": "2026-05-01T13:01:01Z", "2h": "2026-05-01T14:00:01Z"} {
		got = w.revoke(t, `{"kind":"subject","value":"bob","issuer":"`+idp+`","ttl":"`+ttl+`"}`)
		if got["expires"] != expires {
			t.Errorf("ttl %s expires %v, want %s", ttl, got["expires"], expires)
		}
	}
	// Ahead by no more than the skew.
	got = w.revoke(t, `{"kind":"subject","value":"carol","issuer":"`+idp+`","not_before":"2026-05-01T12:00:30Z"}`)
	if got["not_before"] != "2026-05-01T12:00:30Z" {
		t.Errorf("got %v", got)
	}
}

// TestLasting: what may be an API key, which has no end of its own, is revoked
// until somebody lifts it; a shorter time has to be forced.
func TestLasting(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	w := start(t, func(c *Config) {
		c.Now = func() time.Time { return now }
		c.Issuers = append(c.Issuers, Issuer{Name: "api_keys", Lasting: true})
	})
	for body, years := range map[string]bool{
		`{"kind":"client","value":"reports","issuer":"api_keys"}`:            true,
		`{"kind":"token","value":"key-1","issuer":"api_keys"}`:               true,
		`{"kind":"issuer","value":"api_keys"}`:                               true,
		`{"kind":"token_hash","value":"` + thumb + `"}`:                      true,
		`{"kind":"token_hash","value":"` + thumb + `","ttl":"720h"}`:         false,
		`{"kind":"binding_key","value":"` + thumb + `"}`:                     false,
		`{"kind":"client","value":"web","issuer":"` + idp + `"}`:             false,
		`{"kind":"session","value":"s","issuer":"` + idp + `","ttl":"720h"}`: false,
	} {
		expires, err := time.Parse(time.RFC3339, w.revoke(t, body)["expires"].(string))
		if err != nil || expires.After(now.Add(90*365*24*time.Hour)) != years {
			t.Errorf("%s expires %v, %v", body, expires, err)
		}
	}
	short := `{"kind":"client","value":"reports","issuer":"api_keys","ttl":"720h"}`
	if got := w.do(t, ask{method: "POST", path: "/v1/revocations", body: short}); got.status != 422 {
		t.Errorf("a client of API keys for 720h: %d", got.status)
	}
	if got := w.do(t, ask{method: "POST", path: "/v1/revocations?force", body: short}); got.status != 201 {
		t.Errorf("the same by force: %d", got.status)
	}
}

// TestForce takes a ttl that tokens may outlive, asked for in any of its ways.
func TestForce(t *testing.T) {
	w := start(t)
	short := `{"kind":"session","value":"x","ttl":"1m","issuer":"` + idp + `"`
	for _, a := range []ask{
		{method: "POST", path: "/v1/revocations?force", body: short + "}"},
		{method: "POST", path: "/v1/revocations?force=true", body: short + "}"},
		{method: "POST", path: "/v1/revocations", body: short + `,"force":true}`},
	} {
		if got := w.do(t, a); got.status != 201 {
			t.Errorf("%s %s: %d", a.path, a.body, got.status)
		}
	}
	for _, a := range []ask{
		{method: "POST", path: "/v1/revocations?force=false", body: short + "}"},
		{method: "POST", path: "/v1/revocations", body: short + `,"force":false}`},
		{method: "POST", path: "/v1/revocations?force", body: strings.Replace(short, "1m", "-1m", 1) + "}"},
	} {
		if got := w.do(t, a); got.status != 422 && got.status != 400 {
			t.Errorf("%s %s: %d", a.path, a.body, got.status)
		}
	}
}

// TestArray stores many in one record, in their order.
func TestArray(t *testing.T) {
	w := start(t)
	var items []string
	for i := range maxItems {
		items = append(items, session(fmt.Sprintf("s%05d", i)))
	}
	records := len(w.memory.Entries())
	got := w.do(t, ask{method: "POST", path: "/v1/revocations?wait=5s", body: "[" + strings.Join(items, ",") + "]"})
	if got.status != 201 {
		t.Fatalf("%d %.300s", got.status, got.body)
	}
	var docs []map[string]any
	if err := json.Unmarshal([]byte(got.body), &docs); err != nil || len(docs) != maxItems {
		t.Fatalf("%d items: %v", len(docs), err)
	}
	for i, doc := range docs {
		if doc["value"] != fmt.Sprintf("s%05d", i) || doc["seq"] != docs[0]["seq"] || doc["applied"] != 1.0 ||
			doc["id"] != fmt.Sprintf("r%v-%d", doc["seq"], i) {
			t.Fatalf("item %d is %v", i, doc)
		}
	}
	if n := w.inForce(); n != maxItems {
		t.Errorf("%d in force", n)
	}
	if more := len(w.memory.Entries()) - records; more > 2 { // a tick may have come
		t.Errorf("%d records", more)
	}
	if lines := strings.Count(w.log.String(), "revocation stored"); lines != 1 {
		t.Errorf("%d audit lines", lines)
	}
	one := w.do(t, ask{method: "POST", path: "/v1/revocations", body: " [" + session("alone") + "]"})
	if !strings.HasPrefix(one.body, "[") || one.header.Get("Location") != "" {
		t.Errorf("an array of one is answered %s", one.body)
	}
}

// TestWait reports how far a revocation has come.
func TestWait(t *testing.T) {
	w := start(t)
	got := w.do(t, ask{method: "POST", path: "/v1/revocations?wait=2s", body: session("x")}).json(t)
	took, ok := got["took_ms"].(float64)
	if got["replicas"] != 1.0 || got["applied"] != 1.0 || !ok || took < 1 || took > 5000 {
		t.Errorf("got %v", got)
	}
	// Another replica that does not answer.
	w = start(t, func(c *Config) {
		c.Reached = func(ctx context.Context, number uint64) ([]feed.Replica, error) {
			<-ctx.Done()
			return []feed.Replica{{ID: "0123456789abcdef", Host: "a", Applied: number}, {ID: "fedcba9876543210", Host: "b", Applied: number - 1}, {Host: "c", Applied: number + 1}}, nil
		}
	})
	got = w.do(t, ask{method: "POST", path: "/v1/revocations?wait=20ms", body: session("x")}).json(t)
	if took, _ := got["took_ms"].(float64); got["replicas"] != 3.0 || got["applied"] != 2.0 || took < 20 ||
		!cmp.Equal(got["behind"], []any{"b/fedcba98"}) {
		t.Errorf("got %v", got)
	}
	lifted := w.do(t, ask{method: "DELETE", path: "/v1/revocations/" + got["id"].(string) + "?wait=20ms"})
	if lifted.status != 204 || lifted.header.Get("Holdfast-Replicas") != "3" || lifted.header.Get("Holdfast-Applied") != "2" {
		t.Errorf("lifted: %d %v", lifted.status, lifted.header)
	}
	// Nobody knows who is there: it is not said that all have applied it.
	w = start(t, func(c *Config) {
		c.Reached = func(_ context.Context, number uint64) ([]feed.Replica, error) {
			return []feed.Replica{{Host: "a", Applied: number}}, feed.ErrUnheard
		}
	})
	got = w.do(t, ask{method: "POST", path: "/v1/revocations?wait=20ms", body: session("x")}).json(t)
	if got["replicas"] != 2.0 || got["applied"] != 1.0 || !cmp.Equal(got["behind"], []any{unheard}) {
		t.Errorf("got %v", got)
	}
}

// TestNotDurable: the feed does not store, and so nothing was done.
func TestNotDurable(t *testing.T) {
	w := start(t)
	first := w.revoke(t, session("before"))["id"].(string)
	w.memory.Fail(func(op feed.Op, _ uint64) error {
		if op == feed.OpAppend {
			return errors.New("no space left on device")
		}
		return nil
	})
	for name, a := range map[string]ask{
		"revoke": {method: "POST", path: "/v1/revocations?wait=1s", body: session("x")},
		"many":   {method: "POST", path: "/v1/revocations", body: "[" + session("x") + "," + session("y") + "]"},
		"lift":   {method: "DELETE", path: "/v1/revocations/" + first},
	} {
		got := w.do(t, a)
		if got.status != 503 || got.header.Get("Retry-After") == "" || got.json(t)["code"] != "not_durable" ||
			!strings.HasSuffix(got.json(t)["type"].(string), "not_durable") || strings.Contains(got.body, "device") {
			t.Errorf("%s: %d %s %v", name, got.status, got.body, got.header)
		}
	}
	if n := w.inForce(); n != 1 {
		t.Errorf("%d in force", n)
	}
	w.memory.Fail(nil)
	eventually(t, "it stores again", func() bool {
		return w.do(t, ask{method: "POST", path: "/v1/revocations", body: session("x")}).status == 201
	})
}

// TestNotReady: a replica that has not read the feed says so.
func TestNotReady(t *testing.T) {
	w := start(t, func(c *Config) { c.Sync = &cache.Sync{} })
	for _, a := range []ask{
		{method: "GET", path: "/v1/revocations"}, {method: "GET", path: "/v1/revocations/r2-0"},
		{method: "DELETE", path: "/v1/revocations/r2-0"}, {method: "GET", path: "/readyz"},
	} {
		if got := w.do(t, a); got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("%s %s: %d", a.method, a.path, got.status)
		}
	}
	if got := w.get(t, "/livez"); got.status != 200 {
		t.Errorf("livez: %d", got.status)
	}
}

// TestAudit: one record a revocation, whatever the reason holds (AD12), and no
// value in it (AD10).
func TestAudit(t *testing.T) {
	w := start(t)
	body, _ := json.Marshal(map[string]string{
		"kind": "token", "value": "jti-of-alice", "issuer": idp,
		"reason": "line\r\n{\"level\":\"ERROR\"}\u2028\u202e\x1b[2J",
	})
	w.revoke(t, string(body))
	var lines []string
	for line := range strings.Lines(w.log.String()) {
		if strings.Contains(line, "revocation stored") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%d audit records: %q", len(lines), lines)
	}
	var record map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &record); err != nil {
		t.Fatal(err)
	}
	if record["actor"] != "admin" || record["kind"] != "token" || record["id"] == "" {
		t.Errorf("record %v", record)
	}
	for _, r := range lines[0][:len(lines[0])-1] {
		if r < ' ' || r > '~' {
			t.Errorf("%U is in the record", r)
		}
	}
	if strings.Contains(w.log.String(), "jti-of-alice") {
		t.Error("the value is in the log")
	}
}

// TestDelete lifts; what has ended stays ended.
func TestDelete(t *testing.T) {
	w := start(t)
	id := w.revoke(t, session("x"))["id"].(string)
	other := w.revoke(t, session("x"))["id"].(string)
	for name, tc := range map[string]struct {
		path   string
		status int
	}{
		"unknown":            {"/v1/revocations/r999-0", 404},
		"unknown place":      {"/v1/revocations/" + strings.TrimSuffix(id, "-0") + "-1", 404},
		"genesis":            {"/v1/revocations/r1-0", 404},
		"no id":              {"/v1/revocations/x", 404},
		"number too large":   {"/v1/revocations/r99999999999999999999-0", 404},
		"another spelling":   {"/v1/revocations/" + strings.Replace(id, "r", "r0", 1), 404},
		"a wait that is not": {"/v1/revocations/" + id + "?wait=x", 400},
	} {
		if got := w.do(t, ask{method: "DELETE", path: tc.path}); got.status != tc.status {
			t.Errorf("%s: %d", name, got.status)
		}
	}
	if w.inForce() != 2 {
		t.Fatal("something was lifted")
	}
	for range 2 { // the second time it is lifted already
		got := w.do(t, ask{method: "DELETE", path: "/v1/revocations/" + id + "?wait=1s"})
		if got.status != 204 || got.body != "" {
			t.Errorf("%d %q", got.status, got.body)
		}
	}
	if w.inForce() != 1 || w.counted["lift stored"] != 1 {
		t.Errorf("%d in force, counted %v", w.inForce(), w.counted)
	}
	read := w.get(t, "/v1/revocations/"+id).json(t)
	if _, err := time.Parse(time.RFC3339, fmt.Sprint(read["lifted"])); err != nil || read["expired"] != nil {
		t.Errorf("got %v", read)
	}
	if read := w.get(t, "/v1/revocations/"+other).json(t); read["lifted"] != nil {
		t.Errorf("the other one: %v", read)
	}
	lift := fmt.Sprintf("/v1/revocations/r%d-0", w.config.Index.Applied())
	if got := w.get(t, lift); got.status != 404 {
		t.Errorf("the lift itself as a revocation: %d", got.status)
	}
}

// TestEvidence shows what a revocation has done.
func TestEvidence(t *testing.T) {
	w := start(t)
	id := w.revoke(t, session("x"))["id"].(string)
	ref, _ := cache.ParseRef(id)
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	w.evidence.Add(cache.Hit{Ref: ref}, at)
	w.evidence.Add(cache.Hit{Ref: ref}, at.Add(time.Minute))
	want := map[string]any{"count": 2.0, "first": "2026-05-01T12:00:00Z", "last": "2026-05-01T12:01:00Z"}
	if diff := cmp.Diff(want, w.get(t, "/v1/revocations/"+id).json(t)["enforced"]); diff != "" {
		t.Error(diff)
	}
}

// TestExpired: what has ended by its time is shown by id, and not listed.
func TestExpired(t *testing.T) {
	w := start(t)
	got := w.do(t, ask{method: "POST", path: "/v1/revocations?force", body: strings.Replace(session("x"), "{", `{"ttl":"1ns",`, 1)}).json(t)
	end, err := time.Parse(time.RFC3339, got["expires"].(string))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end", func() bool { return time.Now().After(end) })
	for range 2 {
		if read := w.get(t, "/v1/revocations/"+got["id"].(string)).json(t); read["expired"] != true || read["lifted"] != nil {
			t.Errorf("got %v", read)
		}
		if list := w.get(t, "/v1/revocations").json(t); len(list["items"].([]any)) != 0 {
			t.Errorf("listed: %v", list)
		}
		w.config.Index.Expire(time.Now().Add(time.Minute))
	}
	if got := w.do(t, ask{method: "DELETE", path: "/v1/revocations/" + got["id"].(string)}); got.status != 204 {
		t.Errorf("lift: %d", got.status)
	}
}

// TestList pages, filters, and refuses what it does not understand.
func TestList(t *testing.T) {
	w := start(t)
	var all []string // ids
	add := func(body string) string {
		id := w.revoke(t, body)["id"].(string)
		all = append(all, id)
		return id
	}
	alice := add(`{"kind":"subject","value":"alice","issuer":"` + idp + `"}`)
	lenders := add(`{"kind":"subject","value":"alice","issuer":"` + lender + `"}`)
	key := add(`{"kind":"binding_key","value":"` + thumb + `"}`)
	for i := range 5 {
		add(session(fmt.Sprint("s", i)))
	}
	lifted := w.revoke(t, session("gone"))["id"].(string)
	if got := w.do(t, ask{method: "DELETE", path: "/v1/revocations/" + lifted}); got.status != 204 {
		t.Fatal(got.status)
	}
	ids := func(query string) (ids []string, next string) {
		t.Helper()
		got := w.get(t, "/v1/revocations"+query)
		if got.status != 200 {
			t.Fatalf("%s: %d %s", query, got.status, got.body)
		}
		doc := got.json(t)
		for _, item := range doc["items"].([]any) {
			ids = append(ids, item.(map[string]any)["id"].(string))
		}
		if doc["next"] != doc["next_cursor"] {
			t.Errorf("next %v, next_cursor %v", doc["next"], doc["next_cursor"])
		}
		next, _ = doc["next"].(string)
		return ids, next
	}
	for query, want := range map[string][]string{
		"":                                       all,
		"?limit=1000":                            all,
		"?kind=subject":                          {alice, lenders},
		"?kind=subject&issuer=" + lender:         {lenders},
		"?value=alice":                           {alice, lenders},
		"?value=alice&issuer=" + idp:             {alice},
		"?value=alice&kind=session":              nil,
		"?value=" + thumb:                        {key},
		"?issuer=" + lender:                      {lenders},
		"?issuer=https://nobody.example":         nil,
		"?value=nobody":                          nil,
		"?kind=token":                            nil,
		"?kind=session&limit=1000&cursor=r999-0": nil,
	} {
		got, next := ids(query)
		if diff := cmp.Diff(want, got); diff != "" || next != "" {
			t.Errorf("%s: next %q, (-want +got)\n%s", query, next, diff)
		}
	}
	for _, filter := range []string{"?limit=3", "?limit=1", "?limit=8", "?limit=7"} {
		var got []string
		for cursor := ""; ; {
			page, next := ids(filter + cursor)
			got = append(got, page...)
			if next == "" {
				break
			}
			cursor = "&cursor=" + next
		}
		if diff := cmp.Diff(all, got); diff != "" {
			t.Errorf("pages by %s (-want +got)\n%s", filter, diff)
		}
	}
	for _, query := range []string{
		"?limit=0", "?limit=-1", "?limit=1001", "?limit=x", "?limit=", "?cursor=x", "?cursor=r0-0", "?kind=user", "?kind=",
		"?value=", "?issuer=", "?wait=1s", "?force", "?offset=1",
	} {
		if got := w.get(t, "/v1/revocations"+query); got.status != 400 {
			t.Errorf("%s: %d", query, got.status)
		}
	}
}

// TestUnreadable: what the feed can not give is not made up.
func TestUnreadable(t *testing.T) {
	w := start(t)
	id := w.revoke(t, session("x"))["id"].(string)
	w.memory.Fail(func(op feed.Op, _ uint64) error {
		if op == feed.OpGet {
			return errors.New("input/output error")
		}
		return nil
	})
	for _, path := range []string{"/v1/revocations", "/v1/revocations/" + id} {
		if got := w.get(t, path); got.status != 503 {
			t.Errorf("%s: %d", path, got.status)
		}
	}
	if got := w.do(t, ask{method: "DELETE", path: "/v1/revocations/" + id}); got.status != 503 || w.inForce() != 1 {
		t.Errorf("lift: %d", got.status)
	}
}

// TestSlowBodies: those who send large bodies slowly do not keep a revocation out.
func TestSlowBodies(t *testing.T) {
	w := start(t)
	for range bodiesAtOnce + 2 {
		conn, err := net.Dial("tcp", "127.0.0.1:"+w.port)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "POST /v1/revocations HTTP/1.1\r\nHost: 127.0.0.1:%s\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n[", w.port)
		if err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "all places are taken", func() bool { return len(w.server.bodies) == bodiesAtOnce })
	w.revoke(t, session("x"))
}

// TestTokenHash: the value is what sha256 of header.payload gives.
func TestTokenHash(t *testing.T) {
	w := start(t)
	sum := sha256.Sum256([]byte("eyJhbGciOiJFUzI1NiJ9.e30"))
	value := base64.RawURLEncoding.EncodeToString(sum[:])
	got := w.revoke(t, `{"kind":"token_hash","value":"`+value+`"}`)
	if got["value"] != value || got["issuer"] != "" {
		t.Errorf("got %v", got)
	}
}
