//! CORS as browsers see it: preflights are answered by the gateway, responses get its fields, in every spelling of a route.

use tests::load::{becomes, get};
use tests::{Gateway, Origin, Response, Setup};

/// The one route of `Setup` with these further keys.
fn gateway(v1: &Origin, v2: &Origin, keys: &str) -> Gateway {
    let toml = Setup::new(v1).mirror("v2", v2.address, "").toml();
    Gateway::start(&toml.replace("[[route]]\n", &format!("[[route]]\n{keys}\n")), &[])
}

fn ask(gateway: &Gateway, method: &str, lines: &str) -> Response {
    gateway.client().ask(format!("{method} /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n"))
}

const PREFLIGHT: &str = "Access-Control-Request-Method: PUT\r\nAccess-Control-Request-Headers: x-token\r\n";

#[test]
fn a_preflight_is_answered_here_and_what_follows_is_marked_and_copied() {
    let (v1, v2) = (Origin::named("v1"), Origin::named("v2"));
    let cors = r#"cors = { origins = ["https://*.a.example"], methods = ["PUT"], headers = ["x-token"], expose = ["x-id"], max_age = "10m", credentials = true }"#;
    let gateway = gateway(&v1, &v2, cors);
    let origin = "Origin: https://shop.a.example\r\n";
    let told = ask(&gateway, "OPTIONS", &format!("{origin}{PREFLIGHT}"));
    let field = |response: &Response, name: &str| {
        response.field(&format!("access-control-{name}")).map(str::to_owned).unwrap_or_default()
    };
    assert_eq!((told.status, told.text()), (200, String::new()));
    assert_eq!(field(&told, "allow-origin"), "https://shop.a.example");
    assert_eq!(field(&told, "allow-methods"), "PUT");
    assert_eq!(field(&told, "allow-headers"), "x-token");
    assert_eq!(field(&told, "allow-credentials"), "true");
    assert_eq!(field(&told, "max-age"), "600");
    assert_eq!(told.field("vary"), Some("Origin"));
    assert_eq!(v1.count(), 0, "nobody else was asked");
    let served = ask(&gateway, "PUT", &format!("{origin}Content-Length: 0\r\n"));
    assert_eq!((served.status, served.text().as_str()), (200, "v1"));
    assert_eq!(field(&served, "allow-origin"), "https://shop.a.example");
    assert_eq!(field(&served, "expose-headers"), "x-id");
    assert_eq!(served.field("vary"), Some("Origin"));
    // The browser of another page gets no CORS fields, and its preflight is v1's to answer.
    for (method, lines) in [("PUT", "Content-Length: 0\r\n"), ("OPTIONS", PREFLIGHT)] {
        let told = ask(&gateway, method, &format!("Origin: https://evil.example\r\n{lines}"));
        assert_eq!((told.status, told.text().as_str()), (200, "v1"));
        assert_eq!(field(&told, "allow-origin"), "");
    }
    let client = gateway.client().ask(get(1));
    assert_eq!((client.status, field(&client, "allow-origin")), (200, String::new()));
    let seen: Vec<String> = v2.wait_for(4).iter().map(|request| request.method.clone()).collect();
    assert_eq!(seen.iter().filter(|method| *method == "OPTIONS").count(), 1, "{seen:?}");
    // A preflight that ends here is no request to copy.
    becomes(&gateway, "v2", &[("eligible", 4), ("sent", 4), ("completed 2xx", 4)]);
}

#[test]
fn what_the_gateway_answers_by_itself_has_the_fields_too_and_v1s_own_are_replaced() {
    let v1 = Origin::fixed(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nAccess-Control-Allow-Origin: https://old.example\r\n\r\nv1",
        tests::origin::After::Keep,
    );
    let v2 = Origin::named("v2");
    let gateway = gateway(&v1, &v2, r#"cors = { origins = ["*"], unmatched = "answer" }"#);
    let told = ask(&gateway, "GET", "Origin: https://a.example\r\n");
    assert_eq!(told.values("access-control-allow-origin"), ["*"]);
    let reply = "[[route]]\nname = \"teapot\"\npath = \"/x\"\nreply = { status = 418 }\ncors = { origins = [\"https://a.example\"] }\n";
    let gateway = Setup::new(&v1).toml();
    let gateway = Gateway::start(&gateway.replace("[[route]]\n", &format!("{reply}[[route]]\n")), &[]);
    let told = ask(&gateway, "GET", "Origin: https://a.example\r\n");
    assert_eq!((told.status, told.field("access-control-allow-origin")), (418, Some("https://a.example")));
}
