package token

import (
	"encoding/json"
	"testing"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// TestStatusClaim: draft-ietf-oauth-status-list, 6.2.
func TestStatusClaim(t *testing.T) {
	const uri = "https://example.com/statuslists/1"
	list := func(idx, uri any) claims {
		return claims{"status": map[string]any{"status_list": map[string]any{"idx": idx, "uri": uri}}}
	}
	for name, tc := range map[string]struct {
		claims claims
		want   reason.Reason
		uri    string
		index  uint64
	}{
		"none":                    {nil, reason.OK, "", 0},
		"tsl-ref-jwt":             {list(0, uri), reason.OK, uri, 0},
		"far":                     {list(json.Number("18446744073709551615"), uri), reason.OK, uri, 1<<64 - 1},
		"tsl-ref-idx-float":       {list(1.5, uri), reason.ClaimsInvalid, "", 0},
		"tsl-ref-idx-str":         {list("0", uri), reason.ClaimsInvalid, "", 0},
		"idx negative":            {list(-1, uri), reason.ClaimsInvalid, "", 0},
		"idx beyond":              {list(json.Number("18446744073709551616"), uri), reason.ClaimsInvalid, "", 0},
		"idx with an exponent":    {list(json.Number("1e2"), uri), reason.ClaimsInvalid, "", 0},
		"idx null":                {list(nil, uri), reason.ClaimsInvalid, "", 0},
		"uri empty":               {list(0, ""), reason.ClaimsInvalid, "", 0},
		"uri a number":            {list(0, 7), reason.ClaimsInvalid, "", 0},
		"idx missing":             {claims{"status": map[string]any{"status_list": map[string]any{"uri": uri}}}, reason.ClaimsInvalid, "", 0},
		"uri missing":             {claims{"status": map[string]any{"status_list": map[string]any{"idx": 1}}}, reason.ClaimsInvalid, "", 0},
		"status_list a text":      {claims{"status": map[string]any{"status_list": "x"}}, reason.ClaimsInvalid, "", 0},
		"another way of status":   {claims{"status": map[string]any{"identifier_list": map[string]any{}}}, reason.OK, "", 0},
		"a status of another use": {claims{"status": "active"}, reason.OK, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRemembering(t)
			raw := r.idp.Token(now, tc.claims)
			for range 2 { // verified, and remembered
				s := r.expect(t, raw, tc.want)
				if s.StatusURI != tc.uri || s.StatusIndex != tc.index {
					if tc.want == reason.OK {
						t.Errorf("%q, %d", s.StatusURI, s.StatusIndex)
					}
				}
			}
		})
	}
}
