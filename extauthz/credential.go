package extauthz

import (
	"net/url"
	"strings"

	"github.com/holdfast-authz/holdfast/extauthz/reason"
)

// credential is what the client presented.
type credential struct {
	token string
	dpop  bool // the DPoP scheme of RFC 9449, 7.1; else Bearer
	kind  CredentialKind
}

// CredentialKind is where a credential was carried.
type CredentialKind uint8

const (
	CredentialHeader CredentialKind = iota + 1 // Authorization
	CredentialCookie
	CredentialAPIKey      // a header of its own
	CredentialCertificate // the peer's X.509-SVID
)

// Carrier is one place where a credential may be.
type Carrier struct {
	Kind CredentialKind
	Name string // of the cookie or of the API key's header, in lower case
}

// findCredential looks for the one credential of a request, in every place
// where one may be. Two of them, even equal ones, are refused: two readers
// might pick different ones. A certificate, which a connection has for other
// reasons too, is the credential only where no other was sent.
func (p *Policy) findCredential(req *Request) (found credential, fault reason.Reason) {
	for i := range p.carriers {
		var r reason.Reason
		var one credential
		switch c := &p.carriers[i]; c.Kind {
		case CredentialCookie:
			one, r = fromCookie(req, c.Name)
		case CredentialAPIKey:
			one, r = fromHeader(req, c.Name)
		case CredentialCertificate:
			continue
		default:
			one, r = fromAuthorization(req)
		}
		switch {
		case r == reason.CredentialMissing:
			continue
		case r == reason.CredentialAmbiguous, r == reason.RequestMalformed:
			return one, r
		case found.kind != 0:
			return credential{}, reason.CredentialAmbiguous
		}
		found, fault = one, r // a malformed one counts, too
	}
	switch {
	case (found.kind != 0 || p.svids) && tokenInQuery(req.Path):
		return credential{}, reason.CredentialAmbiguous
	case found.kind != 0:
		return found, fault
	case p.svids:
		return credential{kind: CredentialCertificate}, reason.OK
	}
	return credential{}, reason.CredentialMissing
}

// fromAuthorization reads the Authorization header. Repeated fields are
// refused (CVE-2021-32777); Envoy joins them with a comma, which no token can
// contain.
func fromAuthorization(req *Request) (credential, reason.Reason) {
	value, found := "", false
	for i := range req.Headers {
		if !strings.EqualFold(req.Headers[i].Name, "authorization") {
			continue
		}
		if found || strings.IndexByte(req.Headers[i].Value, ',') >= 0 {
			return credential{}, reason.CredentialAmbiguous
		}
		value, found = req.Headers[i].Value, true
	}
	if !found || value == "" {
		return credential{}, reason.CredentialMissing
	}
	end := strings.IndexAny(value, " \t")
	scheme, token := value, ""
	if end >= 0 {
		scheme, token = value[:end], value[end+1:]
	}
	c := credential{token: token, kind: CredentialHeader}
	switch {
	case strings.EqualFold(scheme, "Bearer"):
	case strings.EqualFold(scheme, "DPoP"):
		c.dpop = true
	default:
		return credential{}, reason.CredentialMissing // Basic and the like: none of ours
	}
	// RFC 6750, 2.1: one space, then the token. A tab or a second space ends
	// up in the token, where the strict decoder refuses it.
	if token == "" || value[end] != ' ' {
		return c, reason.TokenMalformed
	}
	return c, reason.OK
}

// fromCookie reads a token out of a cookie, which can have no scheme: a token
// that is bound to a DPoP key can not come in one.
func fromCookie(req *Request, name string) (credential, reason.Reason) {
	switch value, n, ok := cookieValue(req, name); {
	case n == 1 && ok:
		return credential{token: value, kind: CredentialCookie}, reason.OK
	case n > 1:
		return credential{}, reason.CredentialAmbiguous
	case n == 0 && !ok:
		return credential{}, reason.RequestMalformed // more than was looked through
	}
	return credential{}, reason.CredentialMissing
}

// fromHeader reads an API key, which is all of a header's value.
func fromHeader(req *Request, name string) (credential, reason.Reason) {
	switch value, n := findHeader(req, name); {
	case n > 1 || strings.IndexByte(value, ',') >= 0:
		return credential{}, reason.CredentialAmbiguous
	case value != "":
		return credential{token: value, kind: CredentialAPIKey}, reason.OK
	}
	return credential{}, reason.CredentialMissing
}

// tokenInQuery looks for the parameter that RFC 6750, 2.3 has for a token. It
// is never read as one; beside another credential it makes two (3.1), of which
// the application might take the one that was not checked.
func tokenInQuery(path string) bool {
	_, query, _ := strings.Cut(path, "?")
	for query != "" {
		one, rest := query, ""
		if end := strings.IndexAny(query, "&;"); end >= 0 { // some still split at ;
			one, rest = query[:end], query[end+1:]
		}
		query = rest
		name, _, _ := strings.Cut(one, "=")
		if strings.IndexByte(name, '%') >= 0 {
			name, _ = url.QueryUnescape(name) // "" where it is none: no reader takes it for the name
		}
		if name == "access_token" {
			return true
		}
	}
	return false
}

// findHeader gives the value of a header and how many fields have that name,
// up to two. In map mode Envoy joins fields by a comma: whoever asks for a
// value that can not hold one has to refuse it.
func findHeader(req *Request, name string) (value string, n int) {
	for i := range req.Headers {
		if !strings.EqualFold(req.Headers[i].Name, name) {
			continue
		}
		if value, n = req.Headers[i].Value, n+1; n == 2 {
			return "", 2
		}
	}
	return value, n
}
