package jwks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"

	"github.com/holdfast-authz/holdfast/cache/dial"
	"github.com/holdfast-authz/holdfast/cache/jose"
)

// Limits of one response. The time is Config.Timeout, over all of them.
const (
	maxBody = 1 << 20 // after decompression
	maxETag = 256
)

// fault is a failed refresh and its kind. Failures of one kind in a row are one
// line in the log.
type fault struct {
	kind string
	err  error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func kindOf(err error) string {
	var f *fault
	if errors.As(err, &f) {
		return f.kind
	}
	if _, refused := errors.AsType[*dial.RefusedError](err); refused {
		return "address"
	}
	return "unreachable"
}

// fetcher gets one issuer's set over HTTP. One goroutine at a time uses it.
//
// Its client keeps no connection: at one refresh in minutes a new one costs
// nothing, and looks its name up again.
type fetcher struct {
	client   *http.Client
	bundle   bool   // the set is a SPIFFE bundle
	issuer   string // metadata is asked for, "" where the URL is configured
	loopback bool   // the configured URL names loopback
	location string // of the set; discovered where issuer is set
	etag     string // of the set in force, and where it was
	etagOf   string
}

func newFetcher(spec Source) *fetcher {
	named := spec.URL
	f := &fetcher{location: spec.URL, bundle: spec.Bundle}
	if spec.Discover {
		named, f.issuer = spec.Issuer, spec.Issuer
	}
	u, _ := url.Parse(named) // Source.validate has parsed it before
	f.loopback = dial.NamesLoopback(u.Hostname())
	f.client = dial.Client(dial.Config{URL: u, Compressed: true})
	return f
}

// keySet gets the set; nil without an error means that the one in force is
// still the one at the source, which only a caller that has one is told.
// fresh goes past caches, ours and those on the way.
func (f *fetcher) keySet(ctx context.Context, fresh, have bool) (*jose.KeySet, error) {
	if f.issuer != "" {
		location, err := f.discover(ctx)
		if err != nil {
			return nil, fmt.Errorf("discover: %w", err)
		}
		f.location = location
	}
	header := http.Header{"Accept": {"application/jwk-set+json, application/json"}}
	switch {
	case fresh:
		header.Set("Cache-Control", "no-cache")
	case have && f.etagOf == f.location && f.etag != "":
		header.Set("If-None-Match", f.etag)
	}
	res, err := f.get(ctx, f.location, header)
	if err != nil || res == nil {
		return nil, err
	}
	set, err := parse(res.body, f.bundle)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", f.location, err)
	}
	f.etag, f.etagOf = res.etag, f.location
	return set, nil
}

// parse reads a set in which at least one key can be used: an empty one is an
// accident at the issuer, never an order to refuse all its tokens.
func parse(doc []byte, bundle bool) (*jose.KeySet, error) {
	read := jose.ParseKeySet
	if bundle {
		read = jose.ParseBundle
	}
	set, err := read(doc)
	if err != nil {
		return nil, &fault{"content", err}
	}
	if len(set.Keys()) == 0 {
		return nil, &fault{"content", errors.New("no key in the set can be used to verify")}
	}
	return set, nil
}

type response struct {
	body []byte
	etag string
}

// get reads one JSON document; nil stands for 304, where header asked for it.
func (f *fetcher) get(ctx context.Context, from string, header http.Header) (*response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	req.Header = header
	req.Header.Set("User-Agent", "holdfast")
	res, err := f.client.Do(req)
	if err != nil {
		return nil, err // names method and URL
	}
	defer res.Body.Close()

	switch {
	case res.StatusCode == http.StatusNotModified && header.Get("If-None-Match") != "":
		return nil, nil
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return nil, &fault{"redirect", fmt.Errorf("get %s: status %d, and redirects are not followed: configure where it leads", from, res.StatusCode)}
	case res.StatusCode != http.StatusOK:
		return nil, &fault{fmt.Sprint("status ", res.StatusCode), fmt.Errorf("get %s: status %d", from, res.StatusCode)}
	}
	if coding := res.Header.Get("Content-Encoding"); coding != "" {
		return nil, &fault{"content", fmt.Errorf("get %s: content encoding %q was not asked for", from, coding)}
	}
	if kind := res.Header.Get("Content-Type"); isPage(kind) {
		return nil, &fault{"content", fmt.Errorf("get %s: content type %q is a page, not JSON", from, kind)}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", from, err)
	}
	if len(body) > maxBody {
		return nil, &fault{"size", fmt.Errorf("get %s: more than %d bytes", from, maxBody)}
	}
	return &response{bytes.TrimSpace(body), tag(res.Header.Get("ETag"))}, nil
}

// isPage tells error and login pages by their type. JSON comes under many
// types in the wild, text/plain among them; the parser is the judge of it.
func isPage(contentType string) bool {
	kind, _, _ := mime.ParseMediaType(contentType)
	return kind == "text/html" || kind == "application/xhtml+xml"
}

// tag is an entity tag that can be sent back (RFC 9110, 8.8.3), else "".
func tag(s string) string {
	if len(s) > maxETag {
		return ""
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return ""
		}
	}
	return s
}
