// Package upstream is an application behind the edge that shows what arrives
// there: it answers every request with its method and path, and with the
// identity headers that Holdfast has set.
package upstream

import (
	"encoding/json"
	"net/http"
	"strings"
)

// Echo is the answer to a request.
type Echo struct {
	Upstream string              `json:"upstream"` // which one answered
	Method   string              `json:"method"`
	Host     string              `json:"host"`
	Path     string              `json:"path"` // with its query, as sent
	Headers  map[string][]string `json:"headers"`
}

// Handler is the upstream of that name. Credentials are not echoed: of all the
// headers only those that begin with x-holdfast- are, in lower case.
func Handler(name string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		echo := Echo{Upstream: name, Method: r.Method, Host: r.Host, Path: r.RequestURI, Headers: map[string][]string{}}
		for header, values := range r.Header {
			if lower := strings.ToLower(header); strings.HasPrefix(lower, "x-holdfast-") {
				echo.Headers[lower] = values
			}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(echo)
	})
}
