package introspect

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/holdfast-authz/holdfast/cache/jose"
)

// maxBody bounds an answer.
const maxBody = jose.MaxObjectBytes

// post is RFC 7662, 2.1, with the credentials of RFC 6749, 2.3.1.
func (c *Client) post(ctx context.Context, token, secret string) (*jose.Object, *fault) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.c.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, &fault{resultInternal, errors.New("the request cannot be made")}
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", "holdfast")
	req.SetBasicAuth(url.QueryEscape(c.c.ClientID), url.QueryEscape(secret))
	// Not sent. It tells net/http that asking twice does no harm, so that a
	// connection that the issuer closed meanwhile is no failure.
	req.Header["Idempotency-Key"] = []string{}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, explain(ctx, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, explain(ctx, err)
	}
	return decode(res.StatusCode, res.Header, body)
}

// explain says why there was no answer, in words of ours and of the system: an
// error of net/http may quote what the server sent.
func explain(ctx context.Context, err error) *fault {
	var (
		slow net.Error
		op   *net.OpError
		cert *tls.CertificateVerificationError
	)
	switch {
	case ctx.Err() != nil, errors.As(err, &slow) && slow.Timeout():
		return &fault{resultTimeout, errors.New("no whole answer in time")}
	case errors.As(err, &cert):
		return &fault{resultUnreachable, cert}
	case errors.As(err, &op):
		return &fault{resultUnreachable, op}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &fault{resultUnreachable, errors.New("the connection was closed before the end of the answer")}
	}
	return &fault{resultUnreachable, errors.New("what answers does not speak HTTP/1.1, or no TLS where the URL is https")}
}

// decode reads an answer (RFC 7662, 2.2); nil without a fault is a token that is
// not active.
func decode(status int, header http.Header, body []byte) (*jose.Object, *fault) {
	if status != http.StatusOK {
		return nil, refused(status, body)
	}
	bad := func(why string) (*jose.Object, *fault) {
		return nil, &fault{resultContent, errors.New("the answer " + why)}
	}
	types := header["Content-Type"]
	if len(types) != 1 {
		return bad("has no content type, or more than one")
	}
	switch kind, _, err := mime.ParseMediaType(types[0]); {
	case err != nil:
		return bad("has a content type that cannot be read")
	case strings.HasSuffix(kind, "+jwt") || kind == "application/jwt":
		return bad("is a JWT (RFC 9701), which is not understood: have the issuer answer this client in plain JSON")
	case kind != "application/json" && !strings.HasSuffix(kind, "+json"):
		return bad("is not application/json")
	case len(header["Content-Encoding"]) > 0:
		return bad("has a content encoding that was not asked for")
	case len(body) > maxBody:
		return bad(fmt.Sprintf("has more than %d bytes", maxBody))
	}
	claims, err := jose.ParseObject(body)
	if err != nil { // it quotes names of members
		return bad("is no JSON object, or has a member twice, or is nested too deep")
	}
	active, _ := claims.Get("active")
	switch {
	case active.Kind() != jose.Bool:
		return bad("has no member active that is true or false")
	case claims.Has("jwt"):
		return bad("has a member jwt, which is not understood: have the issuer leave it out for this client")
	case active.Raw() != "true":
		return nil, nil
	}
	return claims, nil
}

// refused is an answer with another status than 200.
func refused(status int, body []byte) *fault {
	code := errorCode(body)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, code == "invalid_client", code == "unauthorized_client":
		return &fault{resultCredentials, fmt.Errorf("status %d: the issuer refuses our client_id or secret", status)}
	case status >= 300 && status < 400:
		return &fault{resultStatus, fmt.Errorf("status %d, and redirects are not followed: configure where it leads", status)}
	case code != "":
		return &fault{resultStatus, fmt.Errorf("status %d, %s", status, code)}
	}
	return &fault{resultStatus, fmt.Errorf("status %d", status)}
}

// errorCode is the error of RFC 6749, 5.2 and RFC 7009, 2.2.1 in an answer, and
// "" for any other text.
func errorCode(body []byte) string {
	if len(body) > maxBody {
		return ""
	}
	doc, err := jose.ParseObject(body)
	if err != nil {
		return ""
	}
	v, _ := doc.Get("error")
	text, _ := v.Text()
	switch text {
	case "invalid_request", "invalid_client", "unauthorized_client", "unsupported_token_type", "invalid_token", "access_denied", "server_error", "temporarily_unavailable":
		return text
	}
	return ""
}
