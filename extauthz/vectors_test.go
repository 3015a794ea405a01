package extauthz_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz"
	"github.com/holdfast-authz/holdfast/extauthz/extauthztest"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
	"github.com/holdfast-authz/holdfast/extauthz/token"
)

// vector is one entry of testdata/vectors.json: samples of RFC 6750, 7662,
// 8705, 9449 and 9470 that are whole requests and answers, and cases made from
// them.
type vector struct {
	ID, Kind      string
	Request       json.RawMessage
	Headers       map[string]string
	Introspection json.RawMessage
	Token         string
	Header        extauthztest.Header
	Claims        extauthztest.Claims
	Now           int64
	Policy        struct {
		MaxAge    int64    `json:"max_age"`
		ACRValues []string `json:"acr_values"`
	}
	Event struct {
		SubID     json.RawMessage `json:"sub_id"`
		Timestamp int64           `json:"event_timestamp"`
	}
	Status int
	Body   json.RawMessage
	Value  string
	Expect json.RawMessage
}

// expected is what most entries say of the answer.
type expected struct {
	Status   int
	Headers  map[string]string
	Error    string
	OAuth    string `json:"www_authenticate_error"`
	Params   string
	Decision string
	Accepted bool
	X5T      string `json:"x5t#S256"`
	Claims   json.RawMessage
}

func (v *vector) expect(t *testing.T) (e expected) {
	t.Helper()
	if err := json.Unmarshal(v.Expect, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func readVectors(t *testing.T) (list []vector) {
	t.Helper()
	doc, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &list); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestVectors(t *testing.T) {
	for _, v := range readVectors(t) {
		run := map[string]func(*vector, *testing.T){
			"http_challenge": (*vector).challenged, "http_request": (*vector).requested, "jwt_decode": (*vector).decoded, "jwt_claims": (*vector).claimed,
			"step_up": (*vector).steppedUp, "revocation_effect": (*vector).revoked, "introspection_response": (*vector).introspected,
			"set_cookie": (*vector).cookie, "cnf_parse": (*vector).confirmed,
		}[v.Kind]
		if run == nil {
			t.Errorf("%s: nothing runs a %s", v.ID, v.Kind)
			continue
		}
		t.Run(v.ID, func(t *testing.T) { run(&v, t) })
	}
}

// TestVectorsComplete: every entry of the collection has its place: a file
// whose test runs all of it, or a reason why no check meets it.
func TestVectorsComplete(t *testing.T) {
	doc, err := os.ReadFile("testdata/vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string][]string{} // by file
	listed := 0
	for line := range strings.Lines(string(doc)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		switch {
		case len(words) == 2 && words[1] != "-":
		case len(words) == 3 && words[1] == "-" && len(words[2]) > 20:
		default:
			t.Errorf("neither a file nor a reason: %s", line)
			continue
		}
		ids[words[1]] = append(ids[words[1]], words[0])
		listed++
	}
	if listed != 213 {
		t.Errorf("%d entries; the collection has 213", listed)
	}
	for file, want := range ids {
		if file == "-" {
			continue
		}
		doc, err := os.ReadFile("../" + file)
		if err != nil {
			t.Fatal(err)
		}
		var entries []struct{ ID string }
		if err := json.Unmarshal(doc, &entries); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range entries {
			got = append(got, e.ID)
		}
		if slices.Sort(got); !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("%s has %v; vectors.txt says %v", file, got, want)
		}
	}
}

// rigAt is newRig for another issuer, audience and time, whose opaque tokens
// mean what introspect says.
func rigAt(t *testing.T, c extauthz.Config, issuer, audience string, at int64, introspect func(string) (*jose.Object, reason.Reason)) *rig {
	t.Helper()
	r := newRig(t, c)
	r.now, r.issuer, r.Sync = time.Unix(at, 0), extauthztest.NewIssuer(t, issuer), &cache.Sync{}
	r.Sync.Advance(1, r.now)
	set, err := jose.ParseKeySet(r.issuer.JWKS())
	if err != nil {
		t.Fatal(err)
	}
	config := token.Config{
		Issuers: []token.Issuer{{Name: issuer, Audiences: []string{audience}, Skew: 30 * time.Second, Opaque: introspect != nil}},
		Keys:    keys{issuer: set}, Classify: r.Policy.Classify,
	}
	if introspect != nil {
		config.Opaque = token.Opaque{Issuer: issuer, Introspect: introspect}
	}
	if r.Tokens, err = token.New(config); err != nil {
		t.Fatal(err)
	}
	return r
}

// challenges are the WWW-Authenticate fields of an answer.
func challenges(res *extauthz.Response) (values []string) {
	for _, h := range res.SetHeaders {
		if h.Name == "www-authenticate" {
			values = append(values, h.Value)
		}
	}
	return values
}

func headerOf(res *extauthz.Response, name string) (values []string) {
	for _, h := range res.SetHeaders {
		if h.Name == name {
			values = append(values, h.Value)
		}
	}
	return values
}

// param is a challenge's parameter, with or without its quotes.
func param(challenge, name string) string {
	m := regexp.MustCompile(`\b` + name + `="?([^",]*)`).FindStringSubmatch(challenge)
	if m == nil {
		return ""
	}
	return m[1]
}

func decodeObject(t *testing.T, doc []byte) *jose.Object {
	t.Helper()
	obj, err := jose.ParseObject(doc)
	if err != nil {
		t.Fatal(err)
	}
	return obj
}

// says is the introspection of an issuer that answers the same to everything.
func says(t *testing.T, body []byte) func(string) (*jose.Object, reason.Reason) {
	obj := decodeObject(t, body)
	active, _ := obj.Get("active")
	return func(string) (*jose.Object, reason.Reason) {
		if active.Raw() != "true" {
			return nil, reason.TokenRevoked
		}
		return obj, reason.OK
	}
}
