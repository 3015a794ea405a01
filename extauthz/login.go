package extauthz

import (
	"strings"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// urlPlace is where a login_url takes the URL to come back to.
const urlPlace = "{url}"

// login is where a browser is sent instead of a 401, or "". Only somebody who
// walks there by a link is sent away: a script that gets a login page for an
// answer can make nothing of it. The target is the configured one; what the
// request puts into it is its own URL, all of it percent-encoded, so that it
// stays one value of a query. That the login page returns to known hosts only
// is its own business.
func (d *Decision) login(req *Request) string {
	if d.Reason.Status() != 401 || !navigates(req) {
		return ""
	}
	class := d.class
	if class == nil {
		class = d.policy.loginClass(d.Reason, d.carrier)
	}
	if class == nil || class.LoginURL == "" {
		return ""
	}
	scheme := "https"
	if strings.EqualFold(req.Scheme, "http") {
		scheme = "http"
	}
	back := percentEncode(scheme+"://"+req.Host+req.Path, unreserved)
	return strings.ReplaceAll(class.LoginURL, urlPlace, back)
}

// loginClass is the class that a login is asked for before the session's own
// is known: the first with that credential, and a login_url.
func (p *Policy) loginClass(r reason.Reason, kind CredentialKind) *Class {
	for i := range p.classes {
		by := p.classes[i].Match.Credentials
		if p.classes[i].LoginURL != "" && (r == reason.CredentialMissing || kind == 0 || oneKind(by, kind)) {
			return &p.classes[i]
		}
	}
	return nil
}

// navigates tells a browser that goes to a page from everything else that asks
// for one: GET, HTML, and where the browser says it (Fetch Metadata), a
// navigation.
func navigates(req *Request) bool {
	if req.Method != "GET" || !acceptsHTML(req) {
		return false
	}
	mode, n := findHeader(req, "sec-fetch-mode")
	return n == 0 || n == 1 && mode == "navigate"
}

// acceptsHTML looks for text/html by its name: */* is what scripts send.
func acceptsHTML(req *Request) bool {
	for i := range req.Headers {
		if !strings.EqualFold(req.Headers[i].Name, "accept") {
			continue
		}
		for rest := req.Headers[i].Value; rest != ""; {
			var one string
			one, rest, _ = strings.Cut(rest, ",")
			name, params, _ := strings.Cut(one, ";")
			if strings.EqualFold(strings.TrimSpace(name), "text/html") && !refusedByWeight(params) {
				return true
			}
		}
	}
	return false
}

// refusedByWeight: q=0 is "not acceptable" (RFC 9110, 12.4.2).
func refusedByWeight(params string) bool {
	for rest := params; rest != ""; {
		var one string
		one, rest, _ = strings.Cut(rest, ";")
		name, value, _ := strings.Cut(strings.TrimSpace(one), "=")
		if strings.EqualFold(name, "q") && strings.Trim(value, "0.") == "" {
			return true
		}
	}
	return false
}

// unreserved: RFC 3986, 2.3.
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		c == '-' || c == '.' || c == '_' || c == '~'
}
