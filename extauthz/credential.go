package extauthz

import (
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

// CredentialHeader is an Authorization header, the only carrier so far.
const CredentialHeader CredentialKind = 1

// findCredential looks for the one credential of a request. Two of them, even
// equal ones, are refused: two readers might pick different ones
// (CVE-2021-32777). Envoy joins repeated Authorization fields with a comma,
// which no token can contain.
func findCredential(req *Request) (credential, reason.Reason) {
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
