package extauthz

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// answerFor makes the answer that a reason gets under a policy's demands.
func answerFor(t *testing.T, r reason.Reason, d demand) *Response {
	t.Helper()
	d.mode = ModeEnforce
	decision := &Decision{Reason: r, Verdict: r.Verdict(), Enforced: true, ID: "d-1", demand: &d, policy: mustPolicy(t, Config{})}
	res := &Response{}
	decision.Respond(&Request{}, res)
	return res
}

func header(res *Response, name string) (values []string) {
	for _, h := range res.SetHeaders {
		if h.Name == name {
			values = append(values, h.Value)
		}
	}
	return values
}

// TestEveryReasonsAnswer holds status, code, challenge and body of every reason
// to contract §6.
func TestEveryReasonsAnswer(t *testing.T) {
	for _, r := range reason.All() {
		res := answerFor(t, r, demand{})
		if r.Verdict() == reason.Allow {
			if res.Verdict != reason.Allow || res.Code != 0 {
				t.Errorf("%v: answered %v, code %d", r, res.Verdict, res.Code)
			}
			continue
		}
		code := r.Code()
		wantChallenge := []string{`Bearer error="` + code + `"`}
		wantGRPC := map[int]int32{400: 7, 401: 16, 403: 7, 503: 14}[r.Status()]
		var wantRetry []string
		switch {
		case r == reason.CredentialMissing:
			wantChallenge, code = []string{"Bearer"}, "invalid_token"
		case code == reason.CodeInvalidDPoPProof || code == reason.CodeUseDPoPNonce:
			wantChallenge = []string{`DPoP error="` + code + `", algs="` + proof.DPoPAlgorithms + `"`}
		case r.Status() == 403:
			wantChallenge = []string{`Bearer error="insufficient_scope", scope=""`}
		case r.Status() == 503:
			wantChallenge, wantRetry = nil, []string{"1"}
		}
		if diff := cmp.Diff(wantChallenge, header(res, "www-authenticate")); diff != "" {
			t.Errorf("%v: challenge (-want +got):\n%s", r, diff)
		}
		if res.Verdict != r.Verdict() || res.Status != r.Status() || res.Code != wantGRPC {
			t.Errorf("%v: %v %d, code %d", r, res.Verdict, res.Status, res.Code)
		}
		if want := `{"error":"` + code + `","decision_id":"d-1"}`; res.Body != want {
			t.Errorf("%v: body %s, want %s", r, res.Body, want)
		}
		if !slices.Equal(header(res, "cache-control"), []string{"no-store"}) || !slices.Equal(header(res, "retry-after"), wantRetry) {
			t.Errorf("%v: headers %v", r, res.SetHeaders)
		}
	}
}

func TestChallenge(t *testing.T) {
	for name, tc := range map[string]struct {
		reason reason.Reason
		demand demand
		want   []string
	}{
		"step-up by age": {reason.AuthTooOld, demand{maxAuthAge: 5 * time.Minute},
			[]string{`Bearer error="insufficient_user_authentication", max_age=300`}},
		"step-up by acr": {reason.ACRInsufficient, demand{acr: [][]string{{"aal2", "aal3"}}},
			[]string{`Bearer error="insufficient_user_authentication", acr_values="aal2 aal3"`}},
		"step-up says all that is asked": {reason.AuthTooOld, demand{maxAuthAge: time.Minute, acr: [][]string{{"aal2"}}},
			[]string{`Bearer error="insufficient_user_authentication", max_age=60, acr_values="aal2"`}},
		"acr that class and route share": {reason.ACRInsufficient, demand{acr: [][]string{{"aal1", "aal2"}, {"aal3", "aal2"}}},
			[]string{`Bearer error="insufficient_user_authentication", acr_values="aal2"`}},
		"scope": {reason.ScopeInsufficient, demand{scopes: []string{"read", "payments"}},
			[]string{`Bearer error="insufficient_scope", scope="read payments"`}},
		"the policy is DPoP": {reason.BindingMissing, demand{bindings: []proof.Methods{proof.DPoP}},
			[]string{`DPoP error="invalid_token", algs="` + proof.DPoPAlgorithms + `"`}},
		"nothing sent where only DPoP will do": {reason.CredentialMissing, demand{bindings: []proof.Methods{proof.DPoP}},
			[]string{`DPoP algs="` + proof.DPoPAlgorithms + `"`}},
		"nothing sent where DPoP may do": {reason.CredentialMissing, demand{bindings: []proof.Methods{proof.DPoP | proof.MTLS}},
			[]string{"Bearer", `DPoP algs="` + proof.DPoPAlgorithms + `"`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, header(answerFor(t, tc.reason, tc.demand), "www-authenticate")); diff != "" {
				t.Errorf("challenge (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAllowedHeaders(t *testing.T) {
	policy := mustPolicy(t, Config{Headers: HeaderNames{Subject: "x-user", Session: "x-holdfast-session", Class: "x-holdfast-class", Remove: []string{"dpop", "x-user"}}})
	sent := []Header{
		{"x-user", "root"}, {"x_user", "root"}, {"X-User", "root"}, {"x-holdfast-session", "s9"}, {"x_holdfast_session", "s9"},
		{"X-Holdfast-Anything", "1"}, {"x-holdfastx", "kept"}, {"accept", "*/*"},
	}
	for name, tc := range map[string]struct {
		decision    Decision
		set         []Header
		wantRemoved []string
	}{
		"a known session": {
			func() Decision {
				d := Decision{Reason: reason.OK, Verdict: reason.Allow, Enforced: true, Class: "browser"}
				d.Session.Sub, d.Session.SID = "alice", "s1"
				return d
			}(),
			[]Header{{"x-user", "alice"}, {"x-holdfast-session", "s1"}, {"x-holdfast-class", "browser"}},
			[]string{"x_user", "x_holdfast_session", "X-Holdfast-Anything", "dpop"},
		},
		"anonymous": {
			Decision{Reason: reason.Anonymous, Verdict: reason.Allow, Enforced: true}, nil,
			[]string{"x-user", "x_user", "X-User", "x-holdfast-session", "x_holdfast_session", "X-Holdfast-Anything", "dpop", "x-user"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			tc.decision.policy, tc.decision.demand = policy, &demand{}
			res := &Response{}
			tc.decision.Respond(&Request{Headers: sent}, res)
			if diff := cmp.Diff(tc.set, res.SetHeaders); diff != "" {
				t.Errorf("set (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tc.wantRemoved, res.RemoveHeaders); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
			for _, removed := range res.RemoveHeaders {
				if res.sets(removed) {
					t.Errorf("%s is set and removed: Envoy would remove it", removed)
				}
			}
		})
	}
}
