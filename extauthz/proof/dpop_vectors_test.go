package proof_test

import (
	"encoding/json"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/holdfast-authz/holdfast/cache"
	"github.com/holdfast-authz/holdfast/cache/jose"
	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// vector is one entry of testdata/dpop.json: the samples of RFC 9449 and
// single-fault proofs signed with the published keys of RFC 9421.
type vector struct {
	ID, Kind, Proof, Method, URL string
	Now                          int64
	AccessToken                  string `json:"access_token"`
	Token                        string
	JWK                          json.RawMessage
	Confirm                      struct{ JKT string } `json:"cnf"`
	Steps                        []struct {
		Now   int64
		Valid bool
	}
	Config struct {
		Window int `json:"window_s"`
		Skew   int `json:"skew_s"`
	}
	Expect struct {
		Valid                     bool
		JTI, JKT, Ath, Thumbprint string
		Error                     string `json:"www_authenticate_error"`
	}
}

// vectorReasons are what the proofs that do not hold end in. The two for a
// token endpoint are good there and have no ath: beside an access token they
// are for something else.
var vectorReasons = map[string]reason.Reason{
	"dpop-proof-token":           reason.DPoPMismatch,
	"dpop-proof-refresh":         reason.DPoPMismatch,
	"dpop-neg-methodcase":        reason.DPoPMismatch,
	"dpop-htu-wrongpath":         reason.DPoPMismatch,
	"dpop-neg-ath":               reason.DPoPMismatch,
	"dpop-neg-noath":             reason.DPoPMismatch,
	"dpop-gen-typ-jwt":           reason.DPoPInvalid,
	"dpop-gen-jwk-private":       reason.DPoPInvalid,
	"dpop-gen-jwk-other":         reason.DPoPInvalid,
	"dpop-gen-crit":              reason.DPoPInvalid,
	"dpop-gen-no-iat":            reason.DPoPInvalid,
	"dpop-gen-iat-string":        reason.DPoPInvalid,
	"dpop-gen-two-fields-joined": reason.DPoPInvalid,
}

func vectors(t *testing.T) (list []vector) {
	doc, err := os.ReadFile("testdata/dpop.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(doc, &list); err != nil {
		t.Fatal(err)
	}
	if len(list) < 21 {
		t.Fatalf("%d vectors", len(list))
	}
	return list
}

func (v *vector) check(t *testing.T, d *proof.DPoPChecker, at int64, out *proof.Proof) reason.Reason {
	u, err := url.Parse(v.URL)
	if err != nil {
		t.Fatal(err)
	}
	return d.Check(v.Proof, v.Method, u.Scheme, u.Host, u.RequestURI(), v.AccessToken, v.Confirm.JKT, time.Unix(at, 0), nil, out)
}

func TestDPoPVectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.ID, func(t *testing.T) {
			switch v.Kind {
			case "dpop_proof":
				want := vectorReasons[v.ID]
				if v.Expect.Valid && want == reason.None {
					want = reason.OK
				}
				var out proof.Proof
				r := v.check(t, checker(t, proof.DPoPConfig{}), v.Now, &out)
				if r != want {
					t.Fatalf("%v, want %v", r, want)
				}
				if v.Expect.Error != "" && r.Code() != v.Expect.Error {
					t.Errorf("%v is %s, want %s", r, r.Code(), v.Expect.Error)
				}
				if v.Expect.Valid {
					v.signed(t)
				}
				if r == reason.OK && (v.Confirm.JKT != out.JKT || v.Expect.JTI != "" && v.Expect.JTI != out.JTI) {
					t.Errorf("%+v", out)
				}
			case "dpop_replay":
				v.replayed(t)
			case "jwk_thumbprint":
				obj, err := jose.ParseObject(v.JWK)
				if err != nil {
					t.Fatal(err)
				}
				key, err := jose.ParseKey(obj)
				if got := jose.Thumbprint(key.Public); err != nil || got != v.Expect.Thumbprint {
					t.Errorf("%q, %v; want %q", got, err, v.Expect.Thumbprint)
				}
			case "token_hash":
				client := strings.Replace(ath(v.Token), "=", "", -1)
				if client != v.Expect.Ath {
					t.Errorf("%q, want %q", client, v.Expect.Ath)
				}
			default:
				t.Errorf("nothing here tests a %s", v.Kind)
			}
		})
	}
}

// signed holds key and signature of a good proof to what the RFC prints, also
// where it is for no resource.
func (v *vector) signed(t *testing.T) {
	t.Helper()
	parsed, err := jose.Parse(v.Proof)
	if err != nil {
		t.Fatal(err)
	}
	member, _ := parsed.Header.Get("jwk")
	jwk, _ := member.Object()
	key, err := jose.ParseKey(jwk)
	if err != nil {
		t.Fatal(err)
	}
	if err := key.Verify(parsed); err != nil {
		t.Error(err)
	}
	if got := jose.Thumbprint(key.Public); v.Expect.JKT != "" && got != v.Expect.JKT {
		t.Errorf("thumbprint %s, want %s", got, v.Expect.JKT)
	}
}

// replayed plays one proof at several times: a replay entry lives from iat on,
// not from now.
func (v *vector) replayed(t *testing.T) {
	d := checker(t, proof.DPoPConfig{MaxAge: time.Duration(v.Config.Window) * time.Second, FutureSkew: time.Duration(v.Config.Skew) * time.Second})
	window, err := cache.NewReplay(cache.ReplayConfig{})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range v.Steps {
		var out proof.Proof
		valid := v.check(t, d, step.Now, &out) == reason.OK
		if valid {
			first, ok := window.Seen(out.ReplayKey, out.Expires, time.Unix(step.Now, 0))
			valid = first && ok
		}
		if valid != step.Valid {
			t.Errorf("at %d: %v", step.Now, valid)
		}
	}
}
