// Swagger UI of the OpenAPI document beside this page. Operations are tried where the page was loaded from, under
// whatever name that was; on a port that serves no operations none can be tried.
const place = document.querySelector("#operations");
const tried = place.dataset.tried === "yes";
const answer = await fetch("openapi.json");
const spec = await answer.json();
if (tried) spec.servers = [{ url: new URL(".", location.href).href.replace(/\/$/, "") }];
SwaggerUIBundle({
  domNode: place,
  spec,
  deepLinking: true,
  displayRequestDuration: true,
  supportedSubmitMethods: tried ? ["get", "put", "post", "patch", "delete"] : [],
  validatorUrl: null,
});
