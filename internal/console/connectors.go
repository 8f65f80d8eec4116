package console

import (
	"net/http"
	"slices"
)

// Connector describes a connector as 'tollbridge connectors' does.
type Connector struct {
	Name       string
	Signs      string
	Lines      [][2]string // names and values
	EventTypes [][3]string // the processor's event type, the events that it makes, a note
	JSON       any         // what the command prints with --json
}

// connectorsPage is the data of the list of connectors.
type connectorsPage struct {
	Used, Others []Connector // with and without an endpoint in the configuration
}

// connectors lists the connectors, or describes the one that the request names.
func (h *Handler) connectors(r *http.Request) (view, error) {
	v := view{template: "connectors", Here: "connectors", Title: "Connectors"}
	all, err := h.Connectors()
	if err != nil {
		return v, err
	}
	if name := r.URL.Query().Get("name"); name != "" {
		n := slices.IndexFunc(all, func(c Connector) bool { return c.Name == name })
		if n < 0 {
			return v, problem{http.StatusNotFound, "There is no such connector.", "The page Connectors lists all of them."}
		}
		v.template, v.Title, v.Data, v.JSON = "connector", name, all[n], all[n].JSON
		return v, nil
	}
	var data connectorsPage
	descriptions := []any{}
	used := map[string]bool{}
	for _, e := range h.Endpoints() {
		used[e.Connector] = true
	}
	for _, c := range all {
		descriptions = append(descriptions, c.JSON)
		if used[c.Name] {
			data.Used = append(data.Used, c)
		} else {
			data.Others = append(data.Others, c)
		}
	}
	v.Data, v.JSON = data, descriptions
	return v, nil
}
