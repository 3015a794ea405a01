// Package dial connects to the servers that the configuration names: issuers'
// keys and metadata, introspection endpoints. It makes the HTTP clients for
// them, so that all refuse the same addresses.
//
// A client follows no redirect, takes no proxy from the environment, speaks
// HTTP/1.1, reads a bounded header, and looks at every address just before it
// connects to it: see guard. The system's roots vouch for TLS servers. Limits
// of time and of the body are the caller's.
package dial

import (
	"net/http"
	"net/url"
	"time"
)

// maxHeader bounds all fields of a response's header together.
const maxHeader = 64 << 10

// Config says which server a client is for.
type Config struct {
	// URL is the configured one: it decides whether loopback is allowed, and
	// whether nothing else is. ParseURL allows it.
	URL *url.URL

	// Keep is how many connections there are at most, and how many of them
	// stay open for the next request. 0: one for each request, and none stays,
	// so that each request looks its name up again.
	Keep int

	// Timeout bounds each half of a connect, TCP and TLS. 0: the context of the
	// request alone does.
	Timeout time.Duration

	// Compressed accepts gzip. The body that is read may then be a thousand
	// times the one that was sent.
	Compressed bool
}

// idle is how long a connection that is kept waits for a request.
const idle = 30 * time.Second

// Client makes a client, whose Transport is a *http.Transport.
func Client(c Config) *http.Client { return clientOf(guardOf(c.URL), c) }

func clientOf(g guard, c Config) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	d := g.dialer()
	d.Timeout = c.Timeout
	return &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext:            d.DialContext,
			TLSHandshakeTimeout:    c.Timeout,
			DisableKeepAlives:      c.Keep == 0,
			MaxConnsPerHost:        c.Keep,
			MaxIdleConnsPerHost:    c.Keep,
			IdleConnTimeout:        idle,
			DisableCompression:     !c.Compressed,
			MaxResponseHeaderBytes: maxHeader,
			Protocols:              &protocols,
		},
	}
}
