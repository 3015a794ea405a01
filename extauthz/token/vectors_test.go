package token

import (
	"encoding/json"
	"os"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// vector is one entry of testdata/vectors.json: the sample of RFC 9068 and
// single-fault tokens signed with the published keys of RFC 9421.
type vector struct {
	ID, Kind         string
	Token            string
	JWKS             json.RawMessage
	Issuer, Audience string
	AllowedAlgs      []string `json:"allowed_algs"`
	Now              int64
	Claims           json.RawMessage
	Expect           struct{ Valid bool }
}

// vectorReasons are what the tokens that are not valid end in. Two that RFC
// 9068 section 2.2 would refuse are good here: client_id is optional, and sub
// may be absent beside a sid (contract §10).
var vectorReasons = map[string]reason.Reason{
	"at-gen-typ-missing":  reason.TypeRefused,
	"at-gen-iss-slash":    reason.IssuerUnknown,
	"at-gen-iss-missing":  reason.ClaimsInvalid,
	"at-gen-exp-missing":  reason.ClaimsInvalid,
	"at-gen-exp-huge":     reason.ClaimsInvalid,
	"at-gen-no-sub":       reason.OK,
	"at-gen-no-client_id": reason.OK,
	"at-gen-no-iat":       reason.ClaimsInvalid,
	"at-gen-events":       reason.TypeRefused,
	"at-gen-alg-lower":    reason.AlgorithmRefused,
	"at-gen-jwk-header":   reason.KeyUnknown,
	"at-gen-crit":         reason.TokenMalformed,
	"at-gen-padded":       reason.TokenMalformed,
	"at-gen-space":        reason.TokenMalformed,
	"at-gen-4dots":        reason.TokenMalformed,
	"at-gen-many-dots":    reason.TokenMalformed,
	"at-gen-dup-claim":    reason.TokenMalformed,
	"at-gen-alg-none":     reason.AlgorithmRefused,
	"at-gen-jwe5":         reason.TokenMalformed,
}

func TestVectors(t *testing.T) {
	doc, err := os.ReadFile("testdata/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var vectors []vector
	if err := json.Unmarshal(doc, &vectors); err != nil {
		t.Fatal(err)
	}
	if len(vectors) < 25 {
		t.Fatalf("only %d vectors", len(vectors))
	}
	for _, v := range vectors {
		t.Run(v.ID, func(t *testing.T) {
			if v.Kind == "jwt_claims" {
				v.claims(t)
				return
			}
			want, known := vectorReasons[v.ID]
			if v.Expect.Valid {
				want = reason.OK
			} else if !known {
				t.Fatal("no reason is noted for it")
			}
			set, err := jose.ParseKeySet(v.JWKS)
			if err != nil {
				t.Fatal(err)
			}
			verifier, err := New(Config{
				Issuers: []Issuer{{Name: v.Issuer, Audiences: []string{v.Audience}, Algorithms: v.AllowedAlgs}},
				Keys:    &keys{sets: map[string]*jose.KeySet{v.Issuer: set}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := verifier.Verify(v.Token, time.Unix(v.Now, 0), &Session{}); got != want {
				t.Errorf("reason is %v, want %v", got, want)
			}
		})
	}
}

// claims reads the sample of RFC 9068 figure 2, of which no signature is published.
func (v *vector) claims(t *testing.T) {
	obj, err := jose.ParseObject(v.Claims)
	if err != nil {
		t.Fatal(err)
	}
	i, err := compile(Issuer{Name: "https://authorization-server.example.com/", Audiences: []string{"https://rs.example.com/"}})
	if err != nil {
		t.Fatal(err)
	}
	var s Session
	if !s.read(i, obj) || audience(obj, i.Audiences) != reason.OK || !i.accepts(MediaType("at+JWT"), obj) {
		t.Error("the sample is refused")
	}
	if s.Sub != "5ba552d67" || s.Client != "s6BhdRkqt3" || s.Scope != "openid profile reademail" || s.Until.Unix() != 1639528912 {
		t.Errorf("read as %+v", s)
	}
}
