package extauthz

import (
	"strconv"
	"strings"

	"github.com/holdfast-authz/holdfast/extauthz/proof"
	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// gRPC codes of status.code (contract §10, Answers). Never 0 on a denial: with
// 0 Envoy lets the request through whatever else the answer says.
const (
	codeOK               = 0
	codePermissionDenied = 7
	codeUnavailable      = 14
	codeUnauthenticated  = 16
)

// retryAfter is what a client waits when nothing could be decided, in seconds.
const retryAfter = "1"

// Respond turns a decision into the answer for Envoy. What the client sees is
// the contract's table and nothing more.
func (d *Decision) Respond(req *Request, res *Response) {
	res.Metadata = Metadata{
		Decision: d.Verdict, Reason: d.Reason, Enforced: d.Enforced,
		DecisionID: d.ID, Class: d.Class, Route: d.Route,
	}
	if d.Verdict == reason.Allow || !d.Enforced {
		d.allow(req, res)
		return
	}
	res.Verdict = d.Verdict
	res.Status = d.Reason.Status()
	res.Code = statusCode(res.Status)
	code := d.Reason.Code()
	if login := d.login(req); login != "" {
		res.Status = 302
		res.SetHeaders = append(res.SetHeaders, Header{"location", login})
	} else if challenge := d.challenge(); challenge != "" {
		res.SetHeaders = append(res.SetHeaders, Header{"www-authenticate", challenge})
	}
	if d.Reason == reason.CredentialMissing {
		code = reason.CodeInvalidToken // RFC 6750 wants no code in the challenge; the body always has one
		if res.Status == 401 && d.asksForDPoP() && !d.onlyDPoP() {
			res.SetHeaders = append(res.SetHeaders, Header{"www-authenticate", `DPoP algs="` + proof.DPoPAlgorithms + `"`})
		}
	}
	if d.nonce != "" {
		res.SetHeaders = append(res.SetHeaders, Header{"dpop-nonce", d.nonce})
	}
	res.SetHeaders = append(res.SetHeaders,
		Header{"cache-control", "no-store"}, Header{"content-type", "application/json"})
	if res.Status == 503 {
		res.SetHeaders = append(res.SetHeaders, Header{"retry-after", retryAfter})
	}
	res.Body = `{"error":"` + code + `","decision_id":"` + d.ID + `"}`
}

func statusCode(status int) int32 {
	switch status {
	case 401, 302:
		return codeUnauthenticated
	case 400, 403:
		return codePermissionDenied
	}
	return codeUnavailable
}

// challenge is WWW-Authenticate: RFC 6750 3, RFC 9449 7.1, RFC 9470 3. No text
// of the client's is ever echoed in it.
func (d *Decision) challenge() string {
	if d.Reason.Status() == 503 {
		return ""
	}
	scheme := "Bearer"
	if d.schemeDPoP() {
		scheme = "DPoP"
	}
	var params []string
	if code := d.Reason.Code(); code != "" {
		params = append(params, `error="`+code+`"`)
	}
	switch d.Reason.Code() {
	case reason.CodeStepUp:
		if limit := d.demand.maxAuthAge; limit > 0 {
			params = append(params, "max_age="+strconv.FormatInt(int64(limit.Seconds()), 10))
		}
		if acr := d.acrValues(); len(acr) > 0 {
			params = append(params, `acr_values="`+strings.Join(acr, " ")+`"`)
		}
	case reason.CodeInsufficientScope:
		params = append(params, `scope="`+strings.Join(d.demand.scopes, " ")+`"`)
	}
	if scheme == "DPoP" {
		params = append(params, `algs="`+proof.DPoPAlgorithms+`"`)
	}
	if len(params) == 0 {
		return scheme
	}
	return scheme + " " + strings.Join(params, ", ")
}

// schemeDPoP: the challenge is DPoP's where the token or the policy is.
func (d *Decision) schemeDPoP() bool {
	switch d.Reason.Code() {
	case reason.CodeInvalidDPoPProof, reason.CodeUseDPoPNonce:
		return true
	}
	return d.dpop || d.Session.Confirm.JKT != "" || d.onlyDPoP()
}

// onlyDPoP: the policy takes no other proof.
func (d *Decision) onlyDPoP() bool {
	for _, any := range d.demand.bindings {
		if any == proof.DPoP {
			return true
		}
	}
	return false
}

func (d *Decision) asksForDPoP() bool {
	for _, any := range d.demand.bindings {
		if any&proof.DPoP != 0 {
			return true
		}
	}
	return false
}

// acrValues are those that class and route both accept, in the configured
// order; where they share none, the route's, which asked last.
func (d *Decision) acrValues() []string {
	lists := d.demand.acr
	if len(lists) == 0 {
		return nil
	}
	last := lists[len(lists)-1]
	var shared []string
	for _, value := range last {
		if inAll(lists, value) {
			shared = append(shared, value)
		}
	}
	if len(shared) == 0 {
		return last
	}
	return shared
}

func inAll(lists [][]string, value string) bool {
	for _, list := range lists {
		if !oneOf(list, value) {
			return false
		}
	}
	return true
}

// allow answers OK. The session is told to the upstream only where it is
// known good: not to an anonymous route, and not in monitor mode for a request
// that enforce would have refused.
func (d *Decision) allow(req *Request, res *Response) {
	res.Verdict = reason.Allow
	res.Code = codeOK
	res.Status = 200
	names := &d.policy.headers
	if d.Reason == reason.OK {
		set := func(name, value string) {
			if name != "" && value != "" {
				res.SetHeaders = append(res.SetHeaders, Header{name, headerValue(value)})
			}
		}
		set(names.Subject, d.Session.Sub)
		set(names.Session, d.Session.SID)
		set(names.Class, d.Class)
	}
	for i := range req.Headers {
		name := req.Headers[i].Name
		if names.reserved(name) && !res.sets(name) {
			res.RemoveHeaders = append(res.RemoveHeaders, name)
		}
	}
	for _, name := range names.Remove {
		if !res.sets(name) {
			res.RemoveHeaders = append(res.RemoveHeaders, name)
		}
	}
}

// reserved are the headers that only Holdfast may set for the upstream, in
// every spelling that an upstream may take for them: CGI and its heirs make no
// difference between - and _ (security.md CK09).
func (n *HeaderNames) reserved(name string) bool {
	return len(name) >= len(reservedPrefix) && sameName(name[:len(reservedPrefix)], reservedPrefix) ||
		sameName(name, n.Subject) || sameName(name, n.Session) || sameName(name, n.Class)
}

const reservedPrefix = "x-holdfast-"

// sameName compares header names without case and with _ as -.
func sameName(a, b string) bool {
	if len(a) != len(b) || a == "" {
		return false
	}
	for i := 0; i < len(a); i++ {
		if fold(a[i]) != fold(b[i]) {
			return false
		}
	}
	return true
}

func fold(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case c == '_':
		return '-'
	}
	return c
}

// sets tells whether the answer sets a header: Envoy removes after it has set.
func (r *Response) sets(name string) bool {
	for i := range r.SetHeaders {
		if strings.EqualFold(r.SetHeaders[i].Name, name) {
			return true
		}
	}
	return false
}

// headerValue makes a claim safe as a header's value: control bytes, spaces,
// commas, percent signs and everything outside ASCII are percent-encoded, so
// that no claim can end a header or make it two (security.md RS01).
func headerValue(claim string) string {
	safe := func(c byte) bool { return ' ' < c && c < 0x7f && c != ',' && c != '%' }
	for i := 0; i < len(claim); i++ {
		if !safe(claim[i]) {
			return percentEncode(claim, safe)
		}
	}
	return claim
}
