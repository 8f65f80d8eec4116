package console

import (
	"fmt"
	"net/http"

	"github.com/tollbridge/tollbridge/internal/display"
	"github.com/tollbridge/tollbridge/internal/groups"
	"github.com/tollbridge/tollbridge/internal/kafka"
)

// topicsPage is the data of the page of topics.
type topicsPage struct {
	Topics []kafka.TopicStatus
	Drift  int // topics that are missing or differ
}

// topics compares the topics with the configuration.
func (h *Handler) topics(r *http.Request) (view, error) {
	v := view{template: "topics", Here: "topics", Title: "Topics"}
	all, err := h.Topics(r.Context())
	data := topicsPage{Topics: all}
	for _, t := range all {
		if !t.Exists || t.Drift != "" {
			data.Drift++
		}
	}
	v.Data, v.JSON = data, all
	return v, err
}

// groupsPage is the data of the page of consumer groups.
type groupsPage struct {
	Groups []groups.Lag // of this page
	More   bool         // there are groups that were not asked for
	Pages  pages
	One    *groups.Lag // the group that the URL names
}

// groups shows how far consumer groups are behind; with the parameter name one of them,
// by partition.
func (h *Handler) groups(r *http.Request) (view, error) {
	v := view{template: "groups", Here: "topics", Title: "Consumer groups"}
	all, more, err := h.Groups(r.Context())
	if err != nil {
		return v, err
	}
	if name := r.URL.Query().Get("name"); name != "" {
		for _, g := range all {
			if g.Group == name {
				v.Title, v.Data, v.JSON = display.Cut(name, 60), groupsPage{One: &g}, g
				return v, nil
			}
		}
		return v, problem{http.StatusNotFound, fmt.Sprintf("No consumer group %q has an offset in these topics.", display.Cut(name, 100)), "A group appears here once it has committed an offset."}
	}
	data := groupsPage{More: more, Pages: newPages(r, len(all))}
	data.Groups = all[data.Pages.from:data.Pages.to]
	v.Data, v.JSON = data, append([]groups.Lag{}, all...)
	return v, nil
}
