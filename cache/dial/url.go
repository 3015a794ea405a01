package dial

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// NamesLoopback tells whether a URL's host is loopback by its very name
// (RFC 6761, 6.3).
func NamesLoopback(host string) bool {
	if a, err := netip.ParseAddr(host); err == nil {
		return a.Unmap().IsLoopback()
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}

// CheckURL tells whether a URL may be asked: https, or http to
// loopback; no user, no fragment, and no address that would be refused at dial.
func CheckURL(raw string) error {
	_, err := ParseURL(raw)
	return err
}

// ParseURL parses a URL that CheckURL would allow.
func ParseURL(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// Its text would quote the URL, and with it what may be a password.
		return nil, errors.New("it is not a URL")
	}
	host := u.Hostname()
	switch {
	case u.User != nil:
		return nil, fmt.Errorf("URL of %q has a user in it, which would end up in logs: remove it", host)
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, fmt.Errorf("URL %q is not https", raw)
	case host == "" || u.Opaque != "":
		return nil, fmt.Errorf("URL %q has no host", raw)
	case u.Fragment != "" || strings.Contains(raw, "#"):
		return nil, fmt.Errorf("URL %q has a fragment", raw)
	case u.Scheme == "http" && !NamesLoopback(host):
		return nil, fmt.Errorf("URL %q is http: use https, or a loopback host", raw)
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, fmt.Errorf("URL %q has a bad port", raw)
		}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		if why := guardOf(u).refuse(a); why != "" {
			return nil, fmt.Errorf("URL %q has an address that is refused: %s", raw, why)
		}
	}
	return u, nil
}
