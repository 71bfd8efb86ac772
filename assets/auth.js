// Sign-in, sign-up, passwords and the profile: the form is posted to our own route, which sets a cookie that scripts cannot read.
// Errors are shown in place; nothing typed is lost.
(() => {
  const COMMON = /^(?:password|qwerty|letmein|welcome|iloveyou|admin|changeme|abc|1q2w3e4r|123456)/i;

  function weakness(password, username, email) {
    const lowered = password.toLowerCase();
    if (password.length < 10) return "Use at least 10 characters.";
    if (password.length > 256) return "Use at most 256 characters.";
    if (new Set(lowered).size < 5) return "Use at least five different characters.";
    for (const name of [username.toLowerCase(), email.toLowerCase().split("@")[0]])
      if (name.length >= 3 && lowered.includes(name)) return "Leave your name and e-mail address out of the password.";
    return "";
  }

  function strength(password) {
    if (!password) return 0;
    const kinds = [/[a-z]/, /[A-Z]/, /\d/, /[^A-Za-z0-9]/].filter((kind) => kind.test(password)).length;
    const bits = new Set(password).size * 1.2 + password.length * (1.4 + kinds * 0.5) - (COMMON.test(password) ? 22 : 0);
    return bits < 26 ? 1 : bits < 40 ? 2 : bits < 56 ? 3 : 4;
  }

  const field = (form, name) => form.elements.namedItem(name);
  function show(form, name, message) {
    const input = field(form, name);
    const text = form.querySelector(`[data-error-for="${name}"]`);
    if (text) {
      text.textContent = message || "";
      text.hidden = !message;
    }
    if (input?.setAttribute) input.setAttribute("aria-invalid", message ? "true" : "false");
  }
  function alertText(form, message) {
    const box = form.querySelector("[data-form-alert]");
    box.textContent = message || "";
    box.hidden = !message;
  }
  const chosen = (form) => (field(form, "new") ? "new" : "password"); // the field of the password that is being set
  const value = (form, name) => field(form, name)?.value ?? "";

  function check(form, name) {
    const text = value(form, name);
    if (name === "username")
      return /^[A-Za-z0-9][A-Za-z0-9._-]{1,30}[A-Za-z0-9]$/.test(text.trim())
        ? ""
        : "Use 3 to 32 letters, digits, dots, dashes or underscores, starting and ending with a letter or digit.";
    if (name === "email")
      return /^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(text.trim()) ? "" : "Enter an e-mail address such as name@example.org.";
    if (name === "password" && form.dataset.auth === "signup")
      return weakness(text, value(form, "username").trim(), value(form, "email").trim());
    if (name === "new") return weakness(text, "", "");
    if (name === "current") return text ? "" : "Enter your present password.";
    if (name === "password") return text || form.dataset.auth === "profile" ? "" : "Enter your password.";
    if (name === "confirm") return text && text === value(form, chosen(form)) ? "" : "The two passwords differ.";
    if (name === "login") return text.trim() ? "" : "Enter your username or e-mail address.";
    return "";
  }

  const names = (form) => [...form.elements].map((e) => e.name).filter(Boolean);
  const timers = new WeakMap();

  function checkTaken(form, input) {
    clearTimeout(timers.get(input));
    if (check(form, input.name)) return;
    timers.set(
      input,
      setTimeout(async () => {
        const text = input.value.trim();
        try {
          const answer = await fetch(`/api/v1/auth/check?${new URLSearchParams({ [input.name]: text })}`);
          const { errors } = await answer.json();
          if (input.value.trim() === text) show(form, input.name, errors?.[input.name]);
        } catch {} // the submit will say that the connection is lost
      }, 350),
    );
  }

  function meter(form) {
    const box = form.querySelector("[data-strength]");
    if (!box) return;
    const password = value(form, chosen(form));
    const level = strength(password);
    const broken = password ? check(form, chosen(form)) : "";
    box.dataset.strength = broken ? Math.min(level, 1) : level;
    const words = ["", "Weak", "Fair", "Good", "Strong"];
    box.querySelector("[data-strength-text]").textContent = broken || words[level];
  }

  document.addEventListener("input", (event) => {
    const form = event.target.closest("form[data-auth]");
    if (!form) return;
    const { name } = event.target;
    if (event.target.getAttribute("aria-invalid") === "true") show(form, name, check(form, name));
    if (name === "new") meter(form);
    if (form.dataset.auth === "signup") {
      meter(form);
      if (name === "username" || name === "email") checkTaken(form, event.target);
      const confirm = field(form, "confirm");
      if (name === "password" && confirm.value) show(form, "confirm", check(form, "confirm"));
    }
  });
  document.addEventListener("focusout", (event) => {
    const form = event.target.closest?.("form[data-auth]");
    if (!form || !event.target.name || !event.target.value) return;
    const message = check(form, event.target.name);
    if (message) show(form, event.target.name, message);
  });

  async function post(path, body, method = "POST") {
    const answer = await fetch(`/api/v1/${path}`, {
      method,
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    let data = {};
    try {
      data = await answer.json();
    } catch {}
    return { ok: answer.ok, status: answer.status, data };
  }

  function next() {
    const wanted = new URLSearchParams(location.search).get("next") || "/";
    return /^\/(?![/\\])[^\\\s]*$/.test(wanted) && !wanted.startsWith("/api/") ? wanted : "/";
  }

  async function send(form) {
    const kind = form.dataset.auth;
    if (kind === "reset") return post("auth/reset", { token: location.hash.slice(1), new: value(form, "new") });
    if (kind === "password")
      return post("me/password", { current: value(form, "current"), new: value(form, "new") });
    if (kind === "profile") {
      const given = { name: value(form, "name").trim(), email: value(form, "email").trim() };
      return post("me", { ...given, password: value(form, "password") }, "PATCH");
    }
    const login = kind === "login";
    if (!login) {
      const made = await post("auth/signup", {
        username: value(form, "username").trim(),
        email: value(form, "email").trim(),
        password: value(form, "password"),
      });
      if (!made.ok) return made;
    }
    const who = login ? value(form, "login").trim() : value(form, "email").trim();
    return post("auth/login", { login: who, password: value(form, "password") });
  }

  // What is done on a page of the app stays there: a sentence is shown, and the page's state reads anew.
  function settle(form, answer) {
    const ended = answer.data.sessions_ended;
    const others = ended === 1 ? "Your other session is ended." : `Your ${ended} other sessions are ended.`;
    const status = form.querySelector("[data-form-status]");
    status.textContent =
      form.dataset.auth === "profile" ? "Saved." : `Your password is changed. ${ended ? others : ""}`.trim();
    status.hidden = false;
    for (const input of form.querySelectorAll("[data-show-password]"))
      document.getElementById(input.dataset.showPassword).value = "";
    meter(form);
    form.querySelector("[data-form-done]").click();
  }

  function refuse(form, answer) {
    let focused = false;
    for (const { field: name, message } of answer.data.errors || []) {
      show(form, name, message);
      if (!focused && field(form, name)?.focus) {
        field(form, name).focus();
        focused = true;
      }
    }
    if (!focused) {
      alertText(form, answer.data.detail || "Something went wrong on our side. Try again in a moment.");
      if (form.dataset.auth === "login") field(form, "password").select();
    }
  }

  document.addEventListener(
    "submit",
    async (event) => {
      const form = event.target.closest("form[data-auth]");
      if (!form) return;
      event.preventDefault();
      event.stopPropagation();
      if (form.dataset.sending) return;
      alertText(form, "");
      if (form.querySelector("[data-form-status]")) form.querySelector("[data-form-status]").hidden = true;
      let first = null;
      for (const name of names(form)) {
        const message = check(form, name);
        show(form, name, message);
        if (message) first ||= field(form, name);
      }
      if (first) return first.focus();
      const button = form.querySelector("button[type=submit]");
      form.dataset.sending = "true";
      button.disabled = true;
      try {
        const answer = await send(form);
        if (!answer.ok) return refuse(form, answer);
        if (form.querySelector("[data-form-done]")) return settle(form, answer);
        if (form.dataset.auth === "reset") return location.assign("/login");
        try {
          sessionStorage.removeItem("token"); // a new session starts with an empty page state
          const { theme } = answer.data.user;
          if (theme !== "system") localStorage.setItem("theme", theme); // as it was chosen elsewhere
        } catch {}
        location.assign(next());
      } catch {
        alertText(form, "The connection was lost. Check that the server is running and try again.");
      } finally {
        delete form.dataset.sending;
        button.disabled = false;
      }
    },
    true,
  );

  document.addEventListener("click", (event) => {
    const toggle = event.target.closest("[data-show-password]");
    if (!toggle) return;
    const input = document.getElementById(toggle.dataset.showPassword);
    const shown = input.type === "text";
    input.type = shown ? "password" : "text";
    toggle.setAttribute("aria-pressed", String(!shown));
    toggle.setAttribute("aria-label", shown ? "Show password" : "Hide password");
  });
})();
