package receiver

import "strings"

// ConfigurationURL is where a transmitter's metadata is (SSF 1.0, 7.2): the
// well-known part stands between the host and the path of its issuer, of which
// a slash at the end is dropped.
func ConfigurationURL(issuer string) string {
	issuer = strings.TrimSuffix(issuer, "/")
	scheme, rest, _ := strings.Cut(issuer, "://")
	host, path, ok := strings.Cut(rest, "/")
	if ok {
		path = "/" + path
	}
	return scheme + "://" + host + "/.well-known/ssf-configuration" + path
}
