"""The pages. Some of their queries are as one should not write them: the advice has to have something to say."""

from django.db.models import Avg, Count, F
from django.db.models.functions import Now
from django.http import HttpResponse
from django.utils import timezone

from bookshop.models import Book, Offer, PageView, Review

SHELVES = ("crime", "poetry", "travel", "history", "science")


def content_security_policy(get_response):
    """As strict as such a policy can be: nothing inline, nothing from elsewhere."""

    def answer(request):
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'none'; " + "; ".join(
            f"{kind} 'self'" for kind in ("script-src", "style-src", "img-src", "connect-src", "form-action")
        )
        return response

    return answer


def home(request):
    loved = Book.objects.annotate(stars=Avg("review__stars"), reviews=Count("review")).order_by("-stars", "pk")[:10]
    by_shelf = Book.objects.values("shelf").annotate(number=Count("pk")).order_by("shelf")
    lucky = Book.objects.order_by("?")[:3]
    return HttpResponse(f"{list(loved)} {list(by_shelf)} {list(lucky)}")


def shelf(request, name):
    books = Book.objects.filter(shelf=name).select_related("author").order_by("title")[:50]
    ending = Offer.objects.filter(until__gt=timezone.now()).select_related("book").order_by("until")[:5]
    return HttpResponse(f"{list(books)} {list(ending)}")


def book(request, pk):
    found = Book.objects.select_related("author").get(pk=pk)
    reviews = Review.objects.filter(book=found).order_by("-pk")[:20]
    offers = Offer.objects.filter(book=found, until__gt=Now())
    PageView.objects.filter(path=request.path).update(views=F("views") + 1)
    views = PageView.objects.filter(path=request.path).values_list("views", flat=True)
    return HttpResponse(f"{found.title} {list(reviews)} {list(offers)} {list(views)}")


def review(request, pk):
    Review.objects.create(book_id=pk, stars=4, text="Read it in one night.")
    return HttpResponse("Thank you.")


def everything(request):
    return HttpResponse(str(len(list(Review.objects.values_list("book_id", "stars")))))
